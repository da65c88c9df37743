"""Commands below ``PREFIX/DEVICE/set/``, questions below ``get/``: understood, or refused with a sentence.

A command reaches the instrument only as a known name and a known value; everything else about it, such as
where the answer goes, stays here. The music is served first: requests and replies wait in bounded boxes.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, get_args

import msgspec

from ivories.config import Dynamics, Policy
from ivories.controls import CommandName, Controls, Request, minutes_of
from ivories.errors import CommandError
from ivories.sinks.mqtt.messages import ReplyMessage, RequestMessage

_log = logging.getLogger(__name__)

COMMANDS: Final[dict[str, CommandName]] = {name: name for name in get_args(CommandName)}
POLICIES: Final = get_args(Policy)
CHOICES: Final[dict[str, tuple[str, ...]]] = {"policy": POLICIES, "dynamics": get_args(Dynamics)}
"""Commands that choose one of several words"""
LARGEST: Final = 1024
"""Bytes of a command's payload, and of its sender's correlation data"""
REPLIES: Final = 32
"""Replies that may wait for the broker; then the oldest are forgotten"""
_SHOWN: Final = 40  # characters of foreign text in an answer


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message from the broker."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str = ""
    """MQTT 5: where the sender waits for the answer; empty for nowhere"""
    correlation: bytes | None = None
    """MQTT 5: comes back with the answer"""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to publish."""

    topic: str
    message: ReplyMessage
    correlation: bytes | None


def parse(name: str, payload: bytes) -> RequestMessage:
    """Return what command ``name`` asks for: JSON with ``value`` and ``id``, or the value as plain text.

    Raises:
        CommandError: the payload is too long or malformed; the sentence is for the sender.
    """
    if name not in COMMANDS:
        raise CommandError(f"unknown command {_shown(name)} (known: {', '.join(COMMANDS)})")
    return _decoded(payload)


def _decoded(payload: bytes) -> RequestMessage:
    if len(payload) > LARGEST:
        raise CommandError(f"{len(payload)} bytes are too long for a command (at most {LARGEST})")
    try:
        if payload.lstrip().startswith(b"{"):
            return msgspec.json.decode(payload, type=RequestMessage)
        return RequestMessage(payload.decode().strip())
    except UnicodeDecodeError:
        raise CommandError("the payload is neither text nor JSON") from None
    except msgspec.DecodeError as error:
        hint = 'write {"value": "...", "id": "..."}, or the value alone'
        said = " ".join(str(error).split())  # it quotes names from the payload, line breaks included
        raise CommandError(f"the payload is not a command: {said}; {hint}") from None


def check(name: str, value: str) -> None:
    """Raise CommandError unless ``value`` is one that command ``name`` may have."""
    if name in CHOICES and value not in CHOICES[name]:
        raise CommandError(f"no {name} {_shown(value)}: choose one of {', '.join(CHOICES[name])}")
    if name == "panic" and value.lower() not in {"", "press"}:
        raise CommandError(f"panic takes no value, not {_shown(value)}: send an empty message, or PRESS")
    if name == "take":
        try:
            minutes_of(value)
        except ValueError:
            raise CommandError(
                f"take takes how many minutes, not {_shown(value)}: send an empty message, or PRESS, for all"
            ) from None


@dataclass(slots=True)
class _Draft:
    """What is known of a reply while its command is looked at."""

    topic: str
    name: str
    correlation: bytes | None
    request: RequestMessage = field(default_factory=RequestMessage)

    def finished(self, error: str, state: object = msgspec.UNSET) -> Reply:
        """Return the reply; an empty ``error`` means that the command was obeyed or answered."""
        value = self.request.value[:_SHOWN]
        message = ReplyMessage(self.name[:_SHOWN], not error, value, error or None, self.request.id, state)
        return Reply(self.topic, message, self.correlation)


class CommandDesk:
    """Takes the messages below ``BASE/set/`` and ``BASE/get/``, keeps the replies; used in the sink's thread.

    Args:
        base: ``PREFIX/DEVICE``.
        read: returns what a retained topic holds: bytes of JSON, or text; CommandError for an unknown one.
    """

    def __init__(self, base: str, read: Callable[[str], str | bytes]) -> None:
        self.controls: Controls | None = None
        """Of the instrument; without them every command is refused"""
        self.replies: deque[Reply] = deque(maxlen=REPLIES)
        self._read = read
        self._topics = f"{base}/set/"
        self._questions = f"{base}/get/"
        self._reply = f"{base}/reply"

    def take(self, incoming: Incoming, obeyed: Callable[[Reply], None]) -> None:
        """Answer with a state or a refusal, or hand the request to the instrument.

        Args:
            incoming: a message on a topic below ``BASE/set/`` or ``BASE/get/``.
            obeyed: called in the instrument's thread with the reply to publish.
        """
        state = incoming.topic.removeprefix(self._questions)
        is_question = state != incoming.topic
        name = f"get/{state}" if is_question else incoming.topic.removeprefix(self._topics)
        reply = _Draft(self._reply, name, incoming.correlation)
        try:
            self._address(incoming, reply)
            if is_question:
                self._answer(incoming, reply, state)
            else:
                reply.request = parse(reply.name, incoming.payload)
                check(reply.name, reply.request.value)
                self._ask(reply, obeyed)
        except CommandError as error:
            _log.info("MQTT command refused: %s", error)
            self.replies.append(reply.finished(str(error)))

    def _address(self, incoming: Incoming, reply: "_Draft") -> None:
        """Enter into ``reply`` where it goes; raises CommandError where it cannot, or must not be sent."""
        if len(incoming.correlation or b"") > LARGEST:
            reply.correlation = None
            raise CommandError(f"the correlation data has more than {LARGEST} bytes")
        reply.topic = self._answer_to(incoming.response_topic)
        if incoming.retained:
            raise CommandError("a retained command is not obeyed: publish it without the retain flag")

    def _answer(self, incoming: Incoming, reply: "_Draft", state: str) -> None:
        reply.request = _decoded(incoming.payload)
        if reply.request.value:
            raise CommandError(
                f"get takes no value, not {_shown(reply.request.value)}: send an empty message"
            )
        held = self._read(state)
        self.replies.append(reply.finished("", msgspec.Raw(held) if isinstance(held, bytes) else held))

    def _ask(self, reply: "_Draft", obeyed: Callable[[Reply], None]) -> None:
        if self.controls is None:
            raise CommandError("this piano takes no commands")
        request = Request(COMMANDS[reply.name], reply.request.value, lambda e: obeyed(reply.finished(e)))
        if not self.controls.ask(request):
            raise CommandError("too many commands wait: try again in a second")

    def _answer_to(self, wish: str) -> str:
        """Return the topic for the answer to a sender who asks for it on the topic ``wish``.

        Elsewhere a sender could make the piano write what only the piano may, or get it thrown out by a
        broker that does not forgive a forbidden topic.
        """
        if not wish:
            return self._reply
        if f"{wish}/".startswith(f"{self._reply}/") and not any(sign in wish for sign in "+#\0"):
            return wish
        raise CommandError(f"no answer goes to {_shown(wish)}: choose a response topic below {self._reply}/")


def _shown(text: str) -> str:
    """Return foreign ``text`` in quotes, on one line and not too long."""
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}...")
