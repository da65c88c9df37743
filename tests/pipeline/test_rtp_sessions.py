"""RTP-MIDI sessions over real sockets: who calls, who is called, who vanishes and comes back."""

import select
import threading
import time

import pytest

from ivories.sinks.rtp import invitation, session
from ivories.sinks.rtp.node import SESSIONS, RtpNode
from ivories.sinks.rtp.packets import Exchange
from rtp_listener import Listener
from rtp_peer import Peer, free_port

HOME = "127.0.0.1"


@pytest.fixture
def peer(opened):
    opened.append(Peer())
    return opened[-1]


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


def test_a_participant_that_vanishes_is_dropped_and_invited_again(opened, peer, monkeypatch):
    monkeypatch.setattr(session, "SILENT_S", 0.5)
    monkeypatch.setattr(session, "_FIRST_CLOCK_S", 0.1)
    monkeypatch.setattr(invitation, "FIRST_RETRY_S", 0.1)
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
    monkeypatch.setattr(invitation, "LONGEST_RETRY_S", 0.5)
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


def test_who_was_invited_and_starts_again_by_calling_has_one_session_and_stays_invited(opened, peer):
    turned = Turned(allow=[HOME], invite=[f"{HOME}:{peer.port}"])
    opened.append(turned)
    assert turned.turn(lambda: turned.node.state == "open")
    peer.ssrc, peer.listener = peer.ssrc ^ 1, Listener()
    peer.call(turned.port, wait=False)
    assert turned.turn(lambda: turned.node.reopened == 3, 20), "called, then invited again"
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
