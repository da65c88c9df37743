"""Commands over MQTT: understood, or refused with one sentence, whatever arrives."""

import json
import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ivories.controls import WAITING, Controls, minutes_of
from ivories.errors import CommandError
from ivories.sinks.mqtt.commands import (
    CHOICES,
    COMMANDS,
    LARGEST,
    POLICIES,
    REPLIES,
    CommandDesk,
    Incoming,
    check,
    parse,
)
from ivories.sinks.mqtt.messages import ReplyMessage

BASE = "ivories/salon"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.just("value"), children),
    max_leaves=8,
)
WORDS = st.sampled_from([word for words in CHOICES.values() for word in words])
PAYLOADS = (
    st.binary(max_size=2 * LARGEST)
    | st.text().map(str.encode)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({}, optional={"value": WORDS | JSON, "id": JSON, "more": JSON}).map(
        lambda value: json.dumps(value).encode()
    )
    | WORDS.map(str.encode)
    | st.sampled_from([b"", b"PRESS"])
)
# What a broker lets through as a topic: text without surrogates and NUL.
TOPICS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=80)
NAMES = st.sampled_from([*COMMANDS]) | TOPICS


def read(name):
    """Two states: one of text, one of JSON."""
    if name not in STATES:
        raise CommandError(f"no state {name!r}")
    return STATES[name]


STATES = {"policy": "surest", "keys": b'{"hex":"00"}'}


@pytest.fixture
def desk():
    desk = CommandDesk(BASE, read)
    desk.controls = Controls("balanced", POLICIES)
    return desk


def give(desk, name, payload=b"", **more):
    """Return the only reply to a message, the instrument obeying all that reaches it."""
    replies = []
    desk.take(Incoming(f"{BASE}/set/{name}", payload, **more), replies.append)
    for request in desk.controls.due() if desk.controls else ():
        request.done("")
    while desk.replies:
        replies.append(desk.replies.popleft())
    (reply,) = replies
    return reply


@pytest.mark.parametrize(
    "payload", [b"surest", b" surest\n", b'{"value": "surest"}', b' {"value":"surest"} ']
)
def test_a_value_comes_as_text_or_as_json(payload):
    assert parse("policy", payload).value == "surest"
    check("policy", "surest")
    check("dynamics", "faithful")


@pytest.mark.parametrize("payload", [b"", b"PRESS", b"press", b"{}", b'{"id": 7}'])
def test_panic_needs_no_value(desk, payload):
    assert give(desk, "panic", payload).message.ok


@pytest.mark.parametrize(
    ("payload", "minutes"),
    [(b"", math.inf), (b"PRESS", math.inf), (b"2.5", 2.5), (b'{"value": "1", "id": 3}', 1.0)],
)
def test_a_take_is_of_all_or_of_some_minutes(desk, payload, minutes):
    assert give(desk, "take", payload).message.ok
    assert minutes_of(parse("take", payload).value) == minutes


def test_who_saves_takes_is_asked_at_once_and_full_boxes_are_told(desk):
    asked = []
    desk.controls.save = lambda request: not asked and not asked.append(request)
    desk.take(Incoming(f"{BASE}/set/take", b"2"), desk.replies.append)
    assert [request.value for request in asked] == ["2"]
    assert (desk.controls.due(), len(desk.replies)) == ([], 0)
    desk.take(Incoming(f"{BASE}/set/take", b"2"), desk.replies.append)
    assert "too many commands wait" in desk.replies.pop().message.error


@pytest.mark.parametrize("identity", ["a1", 7, None])
def test_the_reply_has_the_identity_of_the_request(desk, identity):
    payload = json.dumps({"value": "earliest", "id": identity}).encode()
    assert give(desk, "policy", payload).message == ReplyMessage("policy", True, "earliest", None, identity)
    payload = json.dumps({"value": "latest", "id": identity}).encode()
    assert give(desk, "policy", payload).message.id == identity


@pytest.mark.parametrize(
    ("name", "payload", "sentence"),
    [
        ("tempo", b"120", r"unknown command 'tempo' \(known: policy, dynamics, panic, take\)"),
        ("policy", b"fast", "no policy 'fast': choose one of earliest, balanced, surest"),
        ("policy", b"", "no policy ''"),
        ("policy", b"\xff\xfe", "neither text nor JSON"),
        ("policy", b"{", "not a command: .*write"),
        ("policy", b'{"value": 3}', "Expected `str`, got `int`.*value"),
        ("policy", b'{"valu": "surest"}', "unknown field `valu`"),
        ("policy", b"x" * (LARGEST + 1), "1025 bytes are too long"),
        ("dynamics", b"loud", "no dynamics 'loud': choose one of auto, early, faithful"),
        ("dynamics", b"", "no dynamics ''"),
        ("panic", b"softly", "panic takes no value"),
        ("take", b"five", "take takes how many minutes, not 'five'"),
        ("take", b"-1", "take takes how many minutes"),
        ("take", b"0", "take takes how many minutes"),
        ("take", b"nan", "take takes how many minutes"),
        ("take", b"1e999", "take takes how many minutes"),
    ],
)
def test_what_is_wrong_is_said(desk, name, payload, sentence):
    with pytest.raises(CommandError, match=sentence):
        check(name, parse(name, payload).value)
    reply = give(desk, name, payload)
    assert (reply.message.ok, reply.topic) == (False, f"{BASE}/reply")
    assert reply.message.error


def test_the_answer_goes_where_the_sender_waits_with_its_correlation_data(desk):
    reply = give(desk, "panic", response_topic=f"{BASE}/reply/me", correlation=b"\0\xff")
    assert (reply.topic, reply.correlation, reply.message.ok) == (f"{BASE}/reply/me", b"\0\xff", True)


@pytest.mark.parametrize(
    "topic",
    ["ivories/salon/status", "ivories/attic/reply/x", "ivories/salon/reply/#", "ivories/salon/replies", "x",
     "homeassistant/device/ivories_salon/config", "$SYS/x"],
)  # fmt: skip
def test_a_sender_cannot_lend_the_rights_of_the_piano(desk, topic):
    reply = give(desk, "panic", response_topic=topic)
    assert reply.topic == f"{BASE}/reply"
    assert "choose a response topic below ivories/salon/reply/" in reply.message.error


def test_retained_commands_endless_correlation_and_pianos_without_controls_are_refused(desk):
    assert "retain" in give(desk, "panic", retained=True).message.error
    reply = give(desk, "panic", correlation=b"x" * (LARGEST + 1))
    assert (reply.correlation, reply.message.ok) == (None, False)
    desk.controls = None
    assert "takes no commands" in give(desk, "panic").message.error


def test_a_flood_is_bounded_on_the_way_in_and_out(desk):
    for _ in range(1000):
        desk.take(Incoming(f"{BASE}/set/panic", b""), desk.replies.append)
    assert len(desk.controls.due()) == WAITING
    assert len(desk.replies) == REPLIES
    assert "too many commands wait" in desk.replies[-1].message.error


@example("policy", b'{"\\n":', False, "", None)
@given(
    NAMES,
    PAYLOADS,
    st.booleans(),
    TOPICS | TOPICS.map(lambda t: f"{BASE}/reply/{t}"),
    st.binary() | st.none(),
)
def test_whatever_arrives_there_is_one_answer_and_nothing_unknown_reaches_the_instrument(
    name, payload, retained, response_topic, correlation
):
    desk = CommandDesk(BASE, read)
    desk.controls = Controls("balanced", POLICIES)
    replies = []
    incoming = Incoming(f"{BASE}/set/{name}", payload, retained, response_topic, correlation)
    desk.take(incoming, replies.append)
    requests = desk.controls.due()
    assert len(requests) + len(desk.replies) == 1
    for request in requests:
        assert not retained
        assert request.name in COMMANDS
        if request.name in CHOICES:
            assert request.value in CHOICES[request.name]
        elif request.name == "panic" or request.value.lower() in ("", "press"):
            assert request.value.lower() in ("", "press")
        else:
            assert 0 < float(request.value) < math.inf
        request.done("")
    (reply,) = [*replies, *desk.replies]
    assert reply.message.ok == bool(requests)
    assert reply.topic == f"{BASE}/reply" or reply.topic.startswith(f"{BASE}/reply/")
    assert not set("+#\0") & set(reply.topic)
    assert reply.correlation == correlation
    text = msgspec.json.encode(reply.message)
    assert msgspec.json.decode(text, type=ReplyMessage) == reply.message
    assert len(text) < 4096
    assert "\n" not in (reply.message.error or "")


def asked(desk, name, payload=b"", **more):
    """Return the only reply to a question."""
    desk.take(Incoming(f"{BASE}/get/{name}", payload, **more), pytest.fail)
    reply = desk.replies.popleft()
    assert not desk.replies
    return reply


def test_a_question_is_answered_with_the_state_and_the_id(desk):
    reply = asked(desk, "keys", b'{"id": "7f"}')
    assert reply.topic == f"{BASE}/reply"
    assert json.loads(msgspec.json.encode(reply.message)) == {
        "command": "get/keys", "ok": True, "value": "", "error": None, "id": "7f", "state": {"hex": "00"},
    }  # fmt: skip
    reply = asked(desk, "policy", response_topic=f"{BASE}/reply/me", correlation=b"x")
    assert (reply.topic, reply.correlation, reply.message.state) == (f"{BASE}/reply/me", b"x", "surest")
    assert desk.controls.due() == [], "nothing is asked of the instrument"


@pytest.mark.parametrize(
    ("name", "payload", "more", "words"),
    [
        ("nothing", b"", {}, "no state"),
        ("policy", b"surest", {}, "takes no value"),
        ("policy", b"{", {}, "not a command"),
        ("policy", b"x" * (LARGEST + 1), {}, "too long"),
        ("policy", b"", {"retained": True}, "without the retain flag"),
        ("policy", b"", {"response_topic": "elsewhere"}, "no answer goes to"),
    ],
)
def test_a_question_that_cannot_be_answered_gets_a_sentence(desk, name, payload, more, words):
    reply = asked(desk, name, payload, **more)
    assert words in reply.message.error
    assert not reply.message.ok
    assert "state" not in json.loads(msgspec.json.encode(reply.message))


@given(TOPICS, PAYLOADS)
def test_any_question_gets_one_answer(name, payload):
    desk = CommandDesk(BASE, read)
    reply = asked(desk, name, payload)
    decoded = json.loads(msgspec.json.encode(reply.message))
    assert decoded["ok"] is ("state" in decoded)
