"""The dashboard page in a real browser, at a real broker, fed by the real sink."""

import getpass
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest

from browser import CHROMIUM, Browser, Page
from ivories.controls import Controls
from ivories.sinks.mqtt.embedded_broker import HOST, _free_port, start_broker
from ivories.sinks.mqtt.sink import MqttSink
from mqtt_helpers import BROKERS, MOSQUITTO, answers, wait_for
from played import Player, offset, onset, pedal

FILE = Path(__file__).parents[2] / "deploy/dashboards/piano.html"
DOWN = "[...shown().open.keys()].sort((a, b) => a - b).join()"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium-headless-shell"
)


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


def page_at(browser, port, opened, device="salon", more="", **options):
    more += f"&device={device}" if device else ""
    opened.append(page := Page(browser, f"{FILE.as_uri()}?broker=ws://{HOST}:{port}{more}", **options))
    return page


def sink_at(broker, opened, device="salon", **options):
    options = {"protocol": broker.protocol, "stats_s": 0.2} | options
    sink = MqttSink(host=broker.host, port=broker.port, device=device, **options)
    opened.append(sink)
    return sink


def says(page, beginning):
    """Wait until the words about the connection begin so."""
    page.wait_for(f"$('connection').textContent.trim().startsWith({json.dumps(beginning)})")


def lit(page, key):
    """Return how many pixels glow in the roll above ``key``, and how many on the key itself."""
    picture = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR).astype(int)
    glowing = picture[:, :, 2] - picture[:, :, 0] > 60  # far more red than blue
    box = page.ask("(({x, y, width, height}) => [x, y, width, height])($('roll').getBoundingClientRect())")
    left, top, width, height = map(int, box)
    unit = width / 52
    centre = left + page.ask(f"KEYS[{key}].centre") * unit
    column = glowing[:, int(centre - unit / 4) : int(centre + unit / 4)]
    keyboard = int(top + height - min(unit * 5.6, height * 0.3))
    return int(column[top : keyboard - 10].sum()), int(column[keyboard : top + height].sum())


@pytest.mark.parametrize("which", BROKERS)
def test_what_is_played_is_seen(which, opened, browser):
    with start_broker(which, websockets=0) as broker:
        sink = sink_at(broker, opened)
        sink.attach(
            Controls(
                "balanced", ("balanced",), lambda: {"microphone": 1.0, "camera": 0.5},
                dynamics="early", all_dynamics=("auto", "early"),
            )
        )  # fmt: skip
        player = Player(sink)
        player.play(onset(39, 1.0, 90), onset(50, 1.0), pedal(127, 1.0))
        wait_for(lambda: sink.published == 3)
        page = page_at(browser, broker.websockets, opened)
        page.wait_for(f"{DOWN} === '39,50'")  # pressed before the page came
        page.wait_for("nowS() - shown().notes[0].startS > 2.5")  # long enough for some pixels of the roll
        player.play(
            onset(43, 2.0, 70, delay_ms=25), offset(50, 2.1), onset(20, 2.2), offset(20, 2.3, retracts=True)
        )
        page.wait_for(f"{DOWN} === '39,43'")
        page.wait_for("document.body.textContent.includes('camera 50 %')")
        page.wait_for("document.getElementById('sounding').textContent === 'C4  E4'")
        for part in (
            "salon",
            "ms after the sound",
            "connected",
            "policy balanced",
            "dynamics early",
            "4 notes, 1 taken back",
        ):
            page.wait_for(f"document.body.innerText.includes('{part}')")
        assert "pedal down" in page.ask("document.body.innerText")
        for key, in_roll, on_key in ((39, True, True), (50, True, False), (60, False, False)):
            assert [pixels > 20 for pixels in lit(page, key)] == [in_roll, on_key], key
        assert page.log == []
        opened.remove(sink)
        sink.close()
        page.wait_for(f"{DOWN} === ''")
        says(page, "the piano is offline")


def test_a_lost_broker_is_told_and_found_again(opened, browser):
    with start_broker(websockets=0) as broker:
        sink = sink_at(broker, opened)
        player = Player(sink)
        page = page_at(browser, broker.websockets, opened)
        player.play(onset(39), onset(43))
        page.wait_for(f"{DOWN} === '39,43'")
        broker.stop()
        page.wait_for("state === 'lost'")
        says(page, f"no answer from ws://{HOST}:{broker.websockets}; next try in")
        assert page.ask(DOWN) == ""
        player.play(offset(39), onset(44))
        with start_broker(broker.which, port=broker.port, websockets=broker.websockets):
            page.wait_for(f"{DOWN} === '43,44'")
            says(page, "connected")
            opened.remove(sink)
            sink.close()


def test_many_pianos_are_listed_whatever_they_are_called(opened, browser):
    names = ["room 10", "room 9", "<img src=x onerror=alert(1)>"]
    with start_broker(websockets=0) as broker:
        players = [Player(sink_at(broker, opened, name)) for name in names]
        page = page_at(browser, broker.websockets, opened, device="%2B")
        page.wait_for("document.querySelectorAll('#list a').length === 3")
        players[0].play(onset(39), onset(40))
        page.wait_for("document.getElementById('sounding').textContent === '3 of 3 pianos here, 1 playing'")
        shown = page.ask("[...document.querySelectorAll('#list .name')].map(name => name.textContent)")
        assert shown == [names[2], "room 9", "room 10"]
        assert page.ask("document.querySelectorAll('img').length") == 0
        page.wait_for("document.querySelectorAll('#list .faint')[2].textContent === '2 notes · 40 ms'")
        link = page.ask("document.querySelectorAll('#list a')[2].href")
        players.append(Player(sink_at(broker, opened, "room 9", prefix="house 2/ivories")))
        page.call("Page.navigate", url=link)
        page.wait_for(f"typeof shown === 'function' && shown() && {DOWN} === '39,40'")
        page.wait_for("document.title === 'room 10 · Ivories'")
        houses = page_at(browser, broker.websockets, opened, device="", more="&prefix=%2B/ivories")
        houses.wait_for("$('title').textContent === 'house 2 / room 9'")  # the only one, so it is in view
        lonely = page_at(browser, broker.websockets, opened, device="cellar")
        lonely.wait_for("state === 'connected'")
        says(lonely, "no piano called cellar yet")
        while opened:
            opened.pop().close()


def test_nonsense_on_the_topics_and_lost_messages_do_not_disturb(opened, browser):
    with start_broker(websockets=0) as broker:
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect(HOST, broker.port)
        client.loop_start()
        page = page_at(browser, broker.websockets, opened, device="")
        page.wait_for("state === 'connected'")

        def publish(topic, payload):
            client.publish(f"ivories/salon/{topic}", payload).wait_for_publish(5)

        publish("status", "online")
        for payload in (
            "",
            "{",
            "null",
            "[]",
            '{"pressed": 3}',
            '{"pressed": [{"key": 999}]}',
            b"\xff\0",
            "x" * 70000,
        ):
            for topic in ("keys", "note", "pedal", "stats"):
                publish(topic, payload)
        note = {"kind": "onset", "key": 39, "velocity": 80, "t_s": 1, "decided_s": 1.04, "delay_ms": -12.0}
        for sequence in (1, 2, 2, 7):
            publish("note", json.dumps(note | {"key": 39 + sequence, "sequence": sequence}))
        page.wait_for(f"shown() && {DOWN} === '40,41,46'")
        page.wait_for("document.body.innerText.includes('4 missed here')")
        page.wait_for("document.body.innerText.includes('12 ms before the sound')")
        assert all(entry.get("type") == "warning" for entry in page.log), page.log
        client.disconnect()
        client.loop_stop()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed")
def test_a_broker_with_passwords_is_entered_by_a_form(opened, browser, tmp_path):
    subprocess.run(["mosquitto_passwd", "-b", "-c", tmp_path / "users", "dashboard", "pässword"], check=True)
    port = _free_port()
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {_free_port()} {HOST}\nlistener {port} {HOST}\nprotocol websockets\n"
        f"user {getpass.getuser()}\n"
        f"allow_anonymous false\npassword_file {tmp_path}/users\n"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", tmp_path / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port))
        page = page_at(browser, port, opened)
        for password, outcome in (("wrong", "login"), ("pässword", "connected")):
            page.wait_for("!document.getElementById('login').hidden")
            page.ask(f"$('login').user.value = 'dashboard'; $('login').password.value = '{password}'")
            page.ask("state = ''; $('login').requestSubmit()")
            page.wait_for(f"state === '{outcome}'")
        page.wait_for("document.getElementById('login').hidden")
    finally:
        process.terminate()
        process.wait()


def test_the_page_loads_nothing_and_holds_no_foreign_code():
    text = FILE.read_text()
    assert "default-src 'none'" in text
    for word_ in ('src="', "import(", "http://", "https://", "@import", "url("):
        assert word_ not in text, word_
