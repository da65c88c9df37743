"""RTP-MIDI over real sockets: with pymidi, which others wrote, and with participants that lose and vanish."""

import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pymidi.server import Handler, Server

from ivories import doctor
from ivories.config import Config, RtpMidiSection, parse_config
from ivories.errors import ConfigError, SinkError
from ivories.outputs import build_sinks
from ivories.sinks.rtp_midi import RtpMidiSink
from played import MidiReceiver, Player, offset, onset, pedal
from rtp_peer import Peer, free_port, udp, until

HOME = "127.0.0.1"


@pytest.fixture
def peer(opened):
    opened.append(Peer())
    return opened[-1]


def sink_for(opened, **settings):
    sink = RtpMidiSink(port=free_port(), **settings)
    opened.append(sink)
    return sink


def port_of(sink):
    return int(sink._label.split()[1])


class Pymidi(Handler):
    """Somebody else's receiver."""

    def __init__(self, port):
        self.receiver, self.peers = MidiReceiver(), []
        self.server = Server([(HOME, port)])
        self.server.add_handler(self)
        self.server._init_protocols()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stop.is_set():
            self.server._loop_once(0.05)

    def on_peer_connected(self, peer):
        self.peers.append(peer.name)

    def on_peer_disconnected(self, peer):
        self.peers.remove(peer.name)

    def on_midi_commands(self, peer, command_list):
        for command in command_list:
            values = [int(v) for name, v in command.params.items() if name != "_io"]
            self.receiver.feed(bytes((command.command_byte, *values)))

    def close(self):
        self.stop.set()
        self.thread.join(5)
        for link in self.server.socket_map:
            link.close()


def test_another_implementation_hears_every_note_and_its_end(opened):
    port = free_port()
    other = Pymidi(port)
    opened.append(other)
    sink = sink_for(opened, invite=[f"{HOME}:{port}"], session="Flügel")
    until(lambda: sink.state == "open")
    player = Player(sink)
    for key in range(88):
        player.play(onset(key, velocity=key + 20), pedal(key))
        player.play(offset(key, velocity=11))
        sink.beat()
        time.sleep(0.01)  # it is slow, and reads no journal
    player.play(onset(7), onset(8), pedal(127))
    heard = other.receiver
    until(lambda: heard.sounding == {28: 1, 29: 1} and heard.pedal == 127)
    struck = [m.velocity for m in heard.messages if m.type == "note_on"]
    assert struck == [*range(20, 108), 64, 64]
    sink.close()
    until(lambda: not other.peers)
    assert heard.silent


def test_who_calls_is_silenced_and_hears_the_keys_as_they_are(opened, peer):
    sink = sink_for(opened, allow=["127.0.0.0/8"])
    player = Player(sink)
    player.play(onset(39, velocity=80), pedal(99), onset(40), offset(40))
    peer.listener.sounding, peer.listener.pedal = {70: 1, 21: 9}, 3  # of an earlier life
    peer.call(port_of(sink), token=0xDEADBEEF)
    assert [said[:3] for said in peer.said] == [(b"OK", False, 0xDEADBEEF), (b"OK", True, 0xDEADBEEF)]
    assert {said[4] for said in peer.said} == {"Ivories"}
    until(lambda: peer.listener.sounding == {60: 80} and peer.listener.pedal == 99)
    assert peer.clocks == [1]
    player.play(offset(39))
    until(lambda: not peer.listener.sounding)
    assert sink.reopened == 1
    peer.leave()
    until(lambda: sink.state == "absent")


def test_nobody_who_is_not_named_gets_an_answer(opened, peer, caplog):
    sink = sink_for(opened, allow=["192.0.2.0/24", "::1"])
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            peer.call(port_of(sink), wait=False)
            peer.ask_clock()
        until(lambda: "rtp_midi.allow" in caplog.text)
    time.sleep(0.2)
    assert peer.said == []
    assert peer.clocks == []
    assert peer.listener.packets == 0
    assert sink.state == "absent"
    assert caplog.text.count("rtp_midi.allow") == 1


def test_ipv6(opened):
    other = Peer(family=socket.AF_INET6)
    opened.append(other)
    sink = sink_for(opened, invite=[f"[::1]:{other.port}"])
    until(lambda: sink.state == "open")
    Player(sink).play(onset(39))
    until(lambda: list(other.listener.sounding) == [60])


def test_many_packets_get_lost_and_nothing_hangs(opened):
    for feedback, loss in ((True, 0.33), (False, 0.1)):
        other = Peer(loss=loss, feedback=feedback, seed=4)
        sink = sink_for(opened, invite=[f"{HOME}:{other.port}"])
        opened.append(other)
        until(lambda sink=sink: sink.state == "open")
        player, chance = Player(sink), random.Random(2)
        for _ in range(150):
            key = chance.randrange(88)
            player.play(onset(key), offset(key), pedal(chance.choice([0, 127])))
            sink.beat()
            time.sleep(0.005)
        player.play(pedal(0))
        time.sleep(1.0)
        assert other.listener.losses > 10
        assert other.listener.sounding == {}
        assert other.listener.pedal == 0


def test_the_owner_is_killed_and_who_was_invited_hears_on(opened, peer):
    sink = sink_for(opened, invite=[f"{HOME}:{peer.port}"])
    until(lambda: sink.state == "open")
    player = Player(sink)
    player.play(onset(39), onset(43))
    until(lambda: set(peer.listener.sounding) == {60, 64})
    os.kill(sink._owner._process.pid, signal.SIGKILL)
    until(lambda: sink.restarted)
    player.play(offset(39))
    until(lambda: set(peer.listener.sounding) == {64})


APPLICATION = """
import sys, time
from ivories.sinks.rtp_midi import RtpMidiSink
from played import Player, onset, pedal
sink = RtpMidiSink(port=int(sys.argv[1]), invite=[sys.argv[2]])
while sink.state != "open":
    time.sleep(0.01)
sink.beat()
Player(sink).play(onset(39), onset(43), pedal(127))
while True:
    time.sleep(0.03)
    sink.beat()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_the_application_dies_or_hangs_and_no_note_is_left(number, peer):
    tests = str(Path(__file__).parents[1])
    application = subprocess.Popen(
        [sys.executable, "-c", APPLICATION, str(free_port()), f"{HOME}:{peer.port}"],
        env=os.environ | {"PYTHONPATH": tests},
    )
    try:
        until(lambda: set(peer.listener.sounding) == {60, 64} and peer.listener.pedal, 30)
        application.send_signal(number)
        until(lambda: not peer.listener.sounding and not peer.listener.pedal)
    finally:
        application.kill()
        application.wait()
    until(lambda: peer.count(b"BY"))


def test_a_flood_does_not_stop_the_notes(opened, peer):
    sink = sink_for(opened, allow=[HOME])
    peer.call(port_of(sink))
    stop = threading.Event()

    def flood():
        with udp(0) as link:
            while not stop.is_set():
                for at in (0, 1):
                    link.sendto(os.urandom(60), (HOME, port_of(sink) + at))

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        player = Player(sink)
        for key in range(40):
            player.play(onset(key))
            sink.beat()
            until(lambda key=key: key + 21 in peer.listener.sounding)
    finally:
        stop.set()
        flooding.join()
    assert sink.restarted == 0


def test_a_port_that_is_taken_is_told(opened):
    port = free_port()
    with udp(port), pytest.raises(SinkError, match=rf"{port} and {port + 1}.*rtp_midi\.port"):
        RtpMidiSink(port=port, allow=[HOME])


def test_settings_that_cannot_be_are_told():
    with pytest.raises(ConfigError, match=r"rtp_midi\.allow.*rtp_midi\.invite"):
        RtpMidiSink(allow=["house"], invite=["a b"])
    with pytest.raises(ConfigError, match=r"rtp_midi\.port"):
        RtpMidiSink(port=65535)
    mistakes = {"rtp_midi": {"allow": ["10.0.0.0/99"], "invite": [":1"], "port": 65535}}
    with pytest.raises(ConfigError) as caught:
        parse_config(mistakes)
    assert all(word in str(caught.value) for word in ("'10.0.0.0/99'", "':1'", "1 to 65534"))
    with pytest.raises(ConfigError, match=r"needs rtp_midi\.allow or rtp_midi\.invite"):
        parse_config({"rtp_midi": {"enabled": "on"}})


def test_it_listens_only_when_somebody_is_named(opened):
    others = {"usb_midi": {"enabled": "off"}, "alsa_seq": {"enabled": "off"}}
    with pytest.raises(SinkError, match="no way out"):
        build_sinks(parse_config(others), {})
    named = {"rtp_midi": {"allow": [HOME], "port": free_port(), "session": "Salon"}}
    (sink,) = build_sinks(parse_config(others | named), {})
    opened.append(sink)
    assert sink.name == "rtp_midi"
    with pytest.raises(SinkError, match="no way out"):
        build_sinks(parse_config(others | {"rtp_midi": named["rtp_midi"] | {"enabled": "off"}}), {})


def found(**settings):
    config = Config(rtp_midi=RtpMidiSection(**settings))
    return next(f for f in doctor.examine(config) if f.subject == "RTP-MIDI")


def test_the_doctor_tells_who_may_listen():
    port = free_port()
    assert found().verdict is doctor.Verdict.ABSENT
    well = found(port=port, allow=("10.0.0.0/8",), invite=("mac.local",))
    assert well.verdict is doctor.Verdict.OK
    assert all(word in well.detail for word in ("10.0.0.0/8", "mac.local", str(port)))
    with udp(port):
        assert "in use" in found(port=port, allow=("10.0.0.0/8",)).detail


def test_what_avahi_announces_is_the_port_of_the_manual():
    service = ET.parse(Path(__file__).parents[2] / "deploy/avahi/ivories-midi.service").find("service")
    assert service.findtext("type") == "_apple-midi._udp"
    assert int(service.findtext("port")) == RtpMidiSection().port
