"""RTP-MIDI over real sockets: with pymidi, which others wrote, and with participants that lose and vanish."""

import logging
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymidi.server import Handler, Server

from ivories import doctor
from ivories.config import Config, RtpMidiSection, parse_config
from ivories.errors import ConfigError, SinkError
from ivories.outputs import build_sinks
from ivories.sinks import rtp_invitation, rtp_session
from ivories.sinks.rtp_midi import RtpMidiSink
from ivories.sinks.rtp_node import SESSIONS, RtpNode
from ivories.sinks.rtp_packets import Clock, Exchange
from played import MidiReceiver, Player, offset, onset, pedal
from rtp_listener import Listener
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


class Turned:
    """A node in this thread."""

    def __init__(self, *, allow=(), invite=(), port=None):
        self.log = []
        self.port = free_port() if port is None else port
        lists = f'"allow": {list(allow)}, "invite": {list(invite)}'.replace("'", '"')
        self.node = RtpNode(f'{{"port": {self.port}, "name": "Piano", {lists}}}', tell=self.log.append)
        self.node.open()

    def turn(self, until=lambda: False, seconds=10.0):
        """Let the node work until that is true."""
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            poll = select.poll()
            for number, events in self.node.watched().items():
                poll.register(number, events)
            due = self.node.due_s()
            self.node.handle(dict(poll.poll(10 if due is None else min(10.0, 1000 * due))))
        return until()

    def close(self):
        self.node.close()


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


def test_several_hear_the_same_and_one_too_many_is_declined(opened):
    turned = Turned(allow=[HOME])
    peers = [Peer(seed=seed) for seed in range(SESSIONS + 1)]
    opened += [turned, *peers]
    for count, peer in enumerate(peers[:-1], 1):
        calling = threading.Thread(target=peer.call, args=[turned.port])
        calling.start()
        turned.turn(
            lambda count=count, calling=calling: turned.node.reopened == count and not calling.is_alive()
        )
    turned.node.send(bytes((0x90, 60, 70)))
    peers[-1].call(turned.port, wait=False)
    assert turned.turn(lambda: peers[-1].said)
    assert peers[-1].said[0][:2] == (b"NO", False)
    assert turned.turn(lambda: all(peer.listener.sounding == {60: 70} for peer in peers[:-1]))
    assert peers[-1].listener.packets == 0


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


def test_a_participant_that_vanishes_is_dropped_and_invited_again(opened, peer, monkeypatch):
    monkeypatch.setattr(rtp_session, "SILENT_S", 0.5)
    monkeypatch.setattr(rtp_session, "_FIRST_CLOCK_S", 0.1)
    monkeypatch.setattr(rtp_invitation, "FIRST_RETRY_S", 0.1)
    turned = Turned(invite=[f"{HOME}:{peer.port}"])
    opened.append(turned)
    assert turned.turn(lambda: peer.listener.packets > 0)
    turned.node.send(bytes((0x90, 60, 70, 0x90, 62, 70)))
    assert turned.turn(lambda: set(peer.listener.sounding) == {60, 62})
    peer.deaf = True
    assert turned.turn(lambda: turned.node.state == "absent")
    turned.node.send(bytes((0x80, 60, 64)))
    turned.turn(seconds=0.3)
    assert any("says nothing" in line for line in turned.log)
    peer.deaf = False
    assert turned.turn(lambda: peer.listener.sounding == {62: 70}, 20)
    assert turned.node.reopened == 2
    assert sum("no answer" in line for line in turned.log) <= 2, "one sentence for each kind of trouble"


def test_who_declines_is_asked_again_and_more_rarely(opened, monkeypatch):
    other = Peer(answer=b"NO")
    turned = Turned(invite=[f"{HOME}:{other.port}"])
    opened += [turned, other]
    monkeypatch.setattr(rtp_invitation, "LONGEST_RETRY_S", 0.5)
    turned.node._invitations[0]._retry_s = 0.1
    assert turned.turn(lambda: len(other.said) >= 3)
    assert [line for line in turned.log if "declines" in line] == [turned.log[0]]
    other.answer = b"OK"
    assert turned.turn(lambda: turned.node.state == "open")


def test_an_invitation_may_go_to_a_name_that_nobody_knows(opened):
    turned = Turned(invite=["nobody.invalid"])
    opened.append(turned)
    assert turned.turn(lambda: turned.log)
    assert turned.log[0].startswith("no RTP-MIDI session with nobody.invalid")


def test_an_answer_that_got_lost_is_given_again_and_a_new_start_is_one(opened, peer):
    turned = Turned(allow=[HOME])
    opened.append(turned)
    peer.call(turned.port, token=77, wait=False)
    assert turned.turn(lambda: peer.count(b"OK") == 2)
    again = Exchange(b"IN", 77, peer.ssrc, "Peer").encode()
    peer.links[1].sendto(again, (HOME, turned.port + 1))
    assert turned.turn(lambda: peer.count(b"OK") == 3)
    assert turned.node.reopened == 1
    peer.call(turned.port, token=78, wait=False)
    assert turned.turn(lambda: peer.count(b"OK") == 5)
    assert (turned.node.reopened, len(turned.node._sessions)) == (2, 1)
    assert turned.turn(lambda: peer.listener.packets >= 2)
    peer.ssrc, peer.listener = peer.ssrc ^ 1, Listener()  # another program takes its place
    peer.call(turned.port, token=79, wait=False)
    assert turned.turn(lambda: peer.count(b"OK") == 7)
    assert (turned.node.reopened, len(turned.node._sessions)) == (3, 1)


def test_who_is_invited_and_calls_too_has_one_session(opened, peer):
    turned = Turned(allow=[HOME], invite=[f"{HOME}:{peer.port}"])
    opened.append(turned)
    assert turned.turn(lambda: turned.node.state == "open")
    peer.call(turned.port, wait=False)
    assert turned.turn(lambda: peer.count(b"NO"))
    assert [s.participant.invited for s in turned.node._sessions] == [True]


def test_who_called_before_the_invitation_arrived_has_one_session(opened):
    other = Peer(answer=b"")
    turned = Turned(allow=[HOME], invite=[f"{HOME}:{other.port}"])
    opened += [turned, other]
    other.call(turned.port, wait=False)
    assert turned.turn(lambda: turned.node.state == "open")
    assert turned.turn(lambda: other.count(b"IN"))
    other.answer = b"OK"
    assert turned.turn(lambda: turned.node._invitations[0].accepted, 20)
    assert [s.participant.invited for s in turned.node._sessions] == [True]
    assert turned.turn(lambda: other.count(b"BY") == 1)


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


def test_who_called_and_missed_the_end_of_the_session_is_told(opened, peer):
    port = free_port()
    for _ in range(2):
        turned = Turned(allow=[HOME], port=port)
        opened.append(turned)
        if peer.sender is None:
            calling = threading.Thread(target=peer.call, args=[port])
            calling.start()
            assert turned.turn(lambda: peer.clocks == [1])
            calling.join()
            turned.node._ports.close()  # the power goes
    peer.ask_clock()
    assert turned.turn(lambda: peer.count(b"BY"))
    called, *_, told = peer.said
    assert told[3] == called[3], "the SSRC by which it knows the session"
    assert turned.node.reopened == 0


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


class Quiet:
    """In the place of the ports: what would be sent."""

    def __init__(self):
        self.sent = []
        self.refused = 0

    def send_control(self, packet, to):
        self.sent.append((packet, to))

    send_data = send_control

    def close(self):
        pass


ORIGINS = st.sampled_from(
    [(host, port) for host in ("10.0.0.1", "10.0.0.2", "9.9.9.9") for port in (5004, 5005, 7)]
)
SMALL = st.integers(0, 3)
PACKETS = st.one_of(
    st.builds(Exchange, st.sampled_from([b"IN", b"OK", b"NO", b"BY"]), SMALL, SMALL, st.text(max_size=9)).map(
        lambda exchange: exchange.encode()
    ),
    st.builds(Clock, SMALL, st.integers(0, 2), st.tuples(SMALL, SMALL, SMALL)).map(
        lambda clock: clock.encode()
    ),
    st.builds(
        lambda ssrc, n: b"\xff\xffRS" + ssrc.to_bytes(4, "big") + n.to_bytes(4, "big"),
        SMALL,
        st.integers(0, 2**32 - 1),
    ),
    st.builds(lambda ssrc: b"\x80\x61" + bytes(6) + ssrc.to_bytes(4, "big") + b"\x40\x80\0\0", SMALL),
    st.binary(max_size=40),
)


@given(st.lists(st.tuples(PACKETS, ORIGINS, st.booleans(), st.booleans()), max_size=60))
def test_whatever_arrives_only_who_may_listen_is_sent_anything(arriving):
    node = RtpNode('{"port": 5004, "name": "Piano", "allow": ["10.0.0.0/8"], "invite": []}')
    node._ports = quiet = Quiet()
    heard_from = set()
    for number, (data, origin, at_data, play) in enumerate(arriving):
        heard_from.add(origin[0])
        if node._listens_to(origin):
            node._take(data, origin, float(number), at_data=at_data)
        if play:
            node.send(bytes((0x90 if number % 2 else 0x80, 60 + number % 5, 64)))
        for session in node._sessions:
            node._put(session, session.tick(float(number)))
    assert len(node._sessions) <= SESSIONS
    assert {to[0] for _, to in quiet.sent} <= heard_from & {"10.0.0.1", "10.0.0.2"}
    node.close()
    assert node.state == "absent"


def test_feedback_from_elsewhere_is_not_believed():
    node = RtpNode('{"port": 5004, "name": "Piano", "allow": ["10.0.0.0/8"], "invite": []}')
    node._ports = Quiet()
    for at_data in (False, True):
        asked = Exchange(b"IN", 5, 9, "Studio").encode()
        node._take(asked, ("10.0.0.1", 5004 + at_data), 0.0, at_data=at_data)
    (session,) = node._sessions
    number = (session.sequence - 1) & 0xFFFF
    told = b"\xff\xffRS" + (9).to_bytes(4, "big") + number.to_bytes(4, "big")
    node._take(told, ("10.0.0.2", 5004), 0.1, at_data=False)
    node._take(
        told.replace((9).to_bytes(4, "big"), (8).to_bytes(4, "big")), ("10.0.0.1", 5004), 0.1, at_data=False
    )
    assert not session._journal.empty
    node._take(told, ("10.0.0.1", 5004), 0.1, at_data=False)
    assert session._journal.empty
