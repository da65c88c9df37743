"""RTP-MIDI without sockets: packets get lost at random, and no note hangs at the receiver."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.sinks.port.ledger import PortLedger
from ivories.sinks.rtp import journal
from ivories.sinks.rtp.packets import Clock
from ivories.sinks.rtp.session import REPEATS, SILENT_S, Participant, Session
from rtp_listener import Listener

ON, OFF, PEDAL = 0x90, 0x80, 0xB0
OTHER = Participant("Studio", 0x1234, 77, ("127.0.0.1", 5004), ("127.0.0.1", 5005), invited=False)


class Air:
    """A session and its receiver, with a clock of their own and packets that get lost.

    Args:
        seed: of everything that is left to chance.
        loss: probability for a packet, either way.
        feedback: how the receiver writes what it has: ``high``, ``low``, ``32`` bits, or None for never.
    """

    def __init__(
        self, seed=0, *, loss=0.0, feedback="high", first=None, reads_journal=True, uses_single=True
    ):
        self.random = random.Random(seed)
        self.loss, self.feedback = loss, feedback
        self.now = self.random.uniform(0, 1e6)
        self.first = self.random.randrange(1 << 16) if first is None else first
        self.session = Session(OTHER, ssrc=42, first=self.first, now=self.now)
        self.listener = Listener(reads_journal=reads_journal, uses_single=uses_single)
        self.ledger = PortLedger()
        self.sent = 0
        self.told = []  # feedback on its way
        self.states = {}  # sequence number -> what sounds after that packet, the pedal
        self.deliver(self.session.start([], self.now))

    def play(self, *messages):
        for message in messages:
            self.ledger.record(bytes(message))
            due = []
            self.ledger.drain(lambda m, due=due: due.append(m) or True)
            if due:
                self.deliver([self.session.send(due, self.now)])

    def deliver(self, packets, *, lost=None):
        for packet in packets:
            if packet[:2] == b"\xff\xff":
                continue
            self.sent += 1
            if self.told and self.random.random() < 0.5:
                self.session.feedback(self.told.pop(0), self.now)
            held = {m[1]: m[2] for m in self.ledger.held() if m[0] == ON}
            pedal = next((m[2] for m in self.ledger.held() if m[0] == PEDAL), 0)
            number = struct.unpack(">H", packet[2:4])[0]
            self.states[number] = held, pedal
            if self.random.random() < self.loss if lost is None else lost:
                continue
            self.listener.take(packet)
            if self.listener.reads_journal:
                assert self.listener.sounding == held
                assert self.listener.pedal == pedal
            self.answer(number)

    def answer(self, number):
        if self.feedback is None or self.random.random() < max(0.5, self.loss):
            return
        rollovers = self.random.choice([0, 0, 1])
        self.told.append({"high": number << 16, "low": number, "32": rollovers << 16 | number}[self.feedback])

    def wait(self, seconds):
        """Let time go by."""
        end = self.now + seconds
        while (due := self.session.due()) <= end:
            self.now = max(self.now, due)
            self.deliver(self.session.tick(self.now))
        self.now = end

    def music(self, events=200):
        """Play at random: chords, repeated notes, pedal, pauses."""
        for _ in range(events):
            pitch = (
                self.random.randrange(21, 109)
                if self.random.random() < 0.3
                else self.random.randrange(60, 66)
            )
            self.play(
                self.random.choice([
                    (ON, pitch, self.random.randrange(1, 128)),
                    (ON, pitch, self.random.randrange(1, 128)),
                    (OFF, pitch, self.random.randrange(128)),
                    (OFF, pitch, self.random.randrange(128)),
                    (PEDAL, 64, self.random.choice([0, 127, self.random.randrange(128)])),
                ])
            )  # fmt: skip
            self.wait(self.random.choice([0, 0.001, 0.01, 0.05, 0.4]))

    def end(self):
        """End all, and wait as long as a loss of everything said so far may take to be made up for."""
        self.play((PEDAL, 123, 0))
        self.wait(30)


@pytest.mark.parametrize("feedback", ["high", "low", "32"])
@pytest.mark.parametrize("loss", [0.0, 0.05, 0.3, 0.7])
def test_a_receiver_that_reads_the_journal_knows_after_every_packet_what_is_held(loss, feedback):
    losses = repaired = 0
    for seed in range(3):
        air = Air(seed, loss=loss, feedback=feedback)
        air.music(100)
        air.end()  # the guards go on until one is confirmed
        assert air.listener.sounding == {}
        assert air.listener.pedal == 0
        losses += air.listener.losses
        repaired += air.listener.repaired
    assert (losses > 10 and repaired > 10) if loss else losses == repaired == 0


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.floats(0, 0.9), st.sampled_from([None, "high", "low", "32"]), st.booleans())
def test_no_note_hangs_for_any_loss_and_any_feedback(seed, loss, feedback, uses_single):
    air = Air(seed, loss=loss, feedback=feedback, uses_single=uses_single)
    air.music(40)
    air.play((PEDAL, 123, 0))
    air.loss = 0.0
    air.wait(5)
    assert air.listener.sounding == {}
    assert air.listener.pedal == 0


def test_numbers_may_roll_over():
    for first in (0, 1, 65530, 65535):
        air = Air(3, loss=0.3, feedback="low", first=first)
        air.music(100)
        air.end()
        assert air.listener.sounding == {}


def test_without_feedback_the_journal_reaches_back_to_the_start_but_stays_small():
    air = Air(5, loss=0.2, feedback=None)
    air.music(500)
    assert air.sent > 300
    assert air.listener.journal_bytes / air.listener.packets < 100


def test_without_feedback_the_journal_never_reaches_further_than_numbers_can_tell(monkeypatch):
    monkeypatch.setattr(journal, "DEEPEST", 100)
    air = Air(5, feedback=None)
    for _ in range(60):
        air.play((ON, 60, 64), (OFF, 60, 64))
    air.deliver([air.session.send([bytes((ON, 61, 5))], air.now)], lost=True)
    packet = air.session.send([bytes((OFF, 61, 5))], air.now)
    checkpoint, sent = struct.unpack(">H", packet[12 + 1 + 3 + 1 : 12 + 1 + 3 + 3])[0], packet[2:4]
    assert (struct.unpack(">H", sent)[0] - checkpoint) & 0xFFFF == 100


def test_feedback_empties_the_journal():
    air = Air(1)
    air.play((ON, 60, 64), (PEDAL, 64, 100))
    number = air.listener.highest
    air.session.feedback(number, air.now)
    packet = air.session.send([bytes((ON, 62, 64))], air.now)
    assert packet[-3:] == struct.pack(">BH", 0x80, (number + 1) & 0xFFFF)


def test_feedback_that_may_mean_two_packets_is_taken_for_the_older():
    air = Air(1, first=65_530, feedback=None)
    air.play((ON, 60, 64))
    number = air.listener.highest
    air.loss = 1.0
    while 65_535 not in air.states:
        air.play((PEDAL, 64, 1 + air.sent % 2))
    air.play((OFF, 60, 64))
    assert list(air.states)[-1] == 0
    air.session.feedback(number << 16, air.now)  # whose lower half names a packet that was lost
    air.loss = 0.0
    air.play((ON, 70, 64))
    assert air.listener.sounding == {70: 64}


@pytest.mark.parametrize("number", [0, 0xFFFFFFFF, 0x12345678])
def test_feedback_on_what_was_never_sent_changes_nothing(number):
    air = Air(1, first=20_000, feedback=None)
    air.play((ON, 60, 64))
    air.session.feedback(number, air.now)
    air.deliver([air.session.send([bytes((OFF, 60, 64))], air.now)], lost=True)
    air.ledger.record(bytes((OFF, 60, 64)))
    air.wait(0.1)
    assert air.listener.sounding == {}


@pytest.mark.parametrize("lost", range(REPEATS + 1))
def test_ends_are_said_again_to_who_gives_no_feedback_and_reads_no_journal(lost):
    air = Air(1, feedback=None, reads_journal=False)
    air.wait(5)
    air.play((ON, 60, 64), (PEDAL, 64, 90))
    air.wait(5)
    before = air.sent
    air.loss = 1.0
    air.play((OFF, 60, 50), (PEDAL, 64, 0))
    while air.sent < before + 2 + lost:
        air.wait(0.01)
    assert air.listener.sounding == {60: 64}
    air.loss = 0.0
    air.wait(5)
    said = air.sent - before
    assert said == 2 + REPEATS
    assert (air.listener.sounding == {}) == (lost < REPEATS)
    assert (air.listener.pedal == 0) == (lost < REPEATS)


def test_a_key_that_is_struck_again_is_not_ended_by_what_is_said_again():
    air = Air(1, feedback=None, reads_journal=False)
    air.play((ON, 60, 64), (OFF, 60, 50), (ON, 60, 70))
    air.wait(5)
    assert air.listener.sounding == {60: 70}


def test_who_has_everything_is_left_alone():
    air = Air(1, loss=0.0)
    air.feedback = None
    air.play((ON, 60, 64), (OFF, 60, 64))
    air.session.feedback(air.listener.highest, air.now)
    before = air.sent
    air.wait(50)
    assert air.sent == before


def test_a_late_note_is_left_out_but_known():
    air = Air(1, first=7)
    air.wait(2)
    air.loss = 1.0
    air.play((ON, 60, 64))
    air.loss = 0.0
    air.now += 0.3  # past all that guards
    air.play((ON, 62, 64))
    assert air.listener.heard[-1] == (ON, 62, 64)
    assert (ON, 60, 64) not in air.listener.heard
    air.play((OFF, 60, 64))
    assert air.listener.sounding == {62: 64}


def test_a_note_lost_just_now_is_played():
    air = Air(1)
    air.loss = 1.0
    air.play((ON, 60, 64))
    air.loss = 0.0
    air.wait(0.03)
    assert air.listener.heard[-1] == (ON, 60, 64)


def test_the_start_is_silence_then_the_keys_as_they_are():
    listener = Listener()
    listener.sounding, listener.pedal = {21: 5, 108: 9, 64: 1}, 127  # from a session before
    session = Session(OTHER, ssrc=1, first=0, now=0.0)
    for packet in session.start([bytes((PEDAL, 64, 80)), bytes((ON, 64, 90))], 0.0):
        listener.take(packet)
    assert listener.sounding == {64: 90}
    assert listener.pedal == 80


def test_all_88_keys_fit_into_a_frame_of_the_network():
    session = Session(OTHER, ssrc=1, first=0, now=0.0)
    held = [bytes((ON, pitch, 90)) for pitch in range(21, 109)]
    packets = [*session.start(held, 0.0), session.send([bytes((OFF, p, 0)) for p in range(21, 109)], 0.1)]
    assert max(map(len, packets)) < 1000


def test_a_question_about_the_clock_is_answered_and_an_answer_confirmed():
    session = Session(OTHER, ssrc=42, first=0, now=10.0)
    (answer,) = session.clock(Clock(0x1234, 0, (111, 0, 0)), 10.5)
    assert struct.unpack(">2s2sIBxxxQQQ", answer) == (b"\xff\xff", b"CK", 42, 1, 111, 105_000, 0)
    (confirmation,) = session.clock(Clock(0x1234, 1, (111, 222, 0)), 10.6)
    assert struct.unpack(">2s2sIBxxxQQQ", confirmation) == (b"\xff\xff", b"CK", 42, 2, 111, 222, 106_000)
    assert session.clock(Clock(0x1234, 2, (1, 2, 3)), 10.7) == []


def test_who_invited_compares_the_clocks_often_at_first_and_notices_silence():
    session = Session(OTHER._replace(invited=True), ssrc=42, first=0, now=100.0)
    times, now = [], 100.0
    while not session.lost(now):
        times += [now - 100.0 for packet in session.tick(now) if packet[2:4] == b"CK"]
        now = session.due()
    assert times == [0, 1, 2, 3, 4, 14, 24, 34, 44, 54]
    assert now == 100.0 + SILENT_S


def test_a_sign_of_life_keeps_the_session():
    session = Session(OTHER, ssrc=42, first=0, now=0.0)
    session.clock(Clock(0x1234, 0, (1, 0, 0)), 50.0)
    assert not session.lost(109.9)
    assert session.lost(110.0)
