"""The boxes between threads: bounded, counted, and never a stuck note."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ivories.datatypes import AudioBlock, NoteEvent, NoteKind
from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.worker import Worker, pump


def event(kind, key, t_ns=0):
    return NoteEvent(kind, key, 64, t_ns, t_ns, 1.0)


def block(first, length=10, gap=0):
    return AudioBlock(np.zeros(length, np.float32), 16_000, first, first, gap)


def drain(box):
    box.close()
    return list(box)


def test_items_come_out_in_order():
    box = Mailbox("numbers", 5, Overflow.REJECT)
    assert all(box.put(number) for number in range(1, 4))
    assert len(box) == 3
    assert box.get() == 1
    assert drain(box) == [2, 3]
    assert (box.accepted, box.dropped) == (3, 0)


def test_keep_latest_overtakes_the_oldest():
    box = Mailbox("frames", 2, Overflow.KEEP_LATEST)
    assert all(box.put(number) for number in range(5))
    assert drain(box) == [3, 4]
    assert (box.accepted, box.dropped) == (5, 3)


def test_rejected_sound_is_a_gap_of_the_next_block():
    box = Mailbox("sound", 2, Overflow.REJECT)
    assert [box.put(block(10 * index)) for index in range(5)] == [True, True, False, False, False]
    assert box.get().gap == 0
    assert box.put(block(50, gap=0))
    assert box.get().first_sample == 10
    late = box.get()
    assert (late.first_sample, late.gap) == (50, 30)
    assert box.put(block(75, gap=15))  # the source itself lost some
    assert box.get().gap == 15
    assert box.dropped == 3


def test_get_waits_no_longer_than_told():
    box = Mailbox("empty", 1, Overflow.REJECT)
    began = time.monotonic()
    assert box.get(timeout=0.05) is None
    assert 0.04 < time.monotonic() - began < 1.0


def test_close_wakes_whoever_waits_and_takes_nothing_more():
    box = Mailbox("closing", 4, Overflow.KEEP_LATEST)
    got = []
    thread = threading.Thread(target=lambda: got.extend(box))
    thread.start()
    box.put(1)
    time.sleep(0.02)
    box.close()
    box.close()
    thread.join(1.0)
    assert not thread.is_alive()
    assert got == [1]
    assert not box.put(2)
    assert box.closed


def test_a_box_without_room_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Mailbox("nothing", 0, Overflow.REJECT)


def test_a_whole_note_may_be_left_out_but_not_half_of_it():
    box = Mailbox("events", 2, Overflow.COALESCE)
    box.put(event(NoteKind.ONSET, 1))
    assert box.get().key == 1  # the consumer has heard of key 1
    box.put(event(NoteKind.ONSET, 2))
    box.put(event(NoteKind.ONSET, 3))
    assert not box.put(event(NoteKind.ONSET, 4))
    assert box.put(event(NoteKind.OFFSET, 1))
    assert not box.put(event(NoteKind.OFFSET, 3))
    assert box.put(event(NoteKind.OFFSET, 4))  # its onset was left out: harmless, and soon in the box anyway
    assert [(e.kind, e.key) for e in drain(box)] == [
        (NoteKind.ONSET, 2),
        (NoteKind.OFFSET, 1),
        (NoteKind.OFFSET, 4),
    ]
    assert box.dropped == 3  # the onset of 4, and 3 as a whole


def test_of_the_pedal_only_the_last_position_counts():
    box = Mailbox("events", 1, Overflow.COALESCE)
    for value in (0, 127, 0, 127):
        assert box.put(NoteEvent(NoteKind.PEDAL, -1, value, 0, 0, 1.0))
    assert [e.velocity for e in drain(box)] == [127]


@given(
    moves=st.lists(st.one_of(st.integers(0, 5), st.none()), max_size=120),
    capacity=st.integers(1, 6),
)
def test_no_note_is_ever_stuck_whatever_the_consumer_misses(moves, capacity):
    """A number toggles that key, None lets the consumer take one event."""
    box = Mailbox("events", capacity, Overflow.COALESCE)
    down = set()
    sounding = set()

    def hear(heard):
        if heard is None:
            return
        if heard.kind is NoteKind.ONSET:
            assert heard.key not in sounding
            sounding.add(heard.key)
        else:
            sounding.discard(heard.key)

    for time_ns, move in enumerate(moves):
        if move is None:
            hear(box.get(timeout=0))
            continue
        kind = NoteKind.OFFSET if move in down else NoteKind.ONSET
        down ^= {move}
        box.put(event(kind, move, time_ns))
        assert len(box) <= capacity + 6
    for key in sorted(down):
        box.put(event(NoteKind.OFFSET, key, len(moves)))
    for heard in drain(box):
        hear(heard)
    assert sounding == set()


class Doubler:
    delay_ns = 0

    def push(self, item):
        if item < 0:
            raise ValueError("below zero")
        return [2 * item, 2 * item + 1]

    def reset(self):
        pass


def test_a_worker_carries_a_stage_from_box_to_box():
    inbox, outbox = Mailbox("in", 10, Overflow.REJECT), Mailbox("out", 10, Overflow.REJECT)
    worker = Worker("doubling", lambda: pump(inbox, Doubler(), outbox), ended=lambda _: outbox.close())
    worker.start()
    inbox.put(1)
    inbox.put(2)
    inbox.close()
    assert list(outbox) == [2, 3, 4, 5]
    assert worker.join(1.0)
    worker.check()


def test_a_failure_reaches_the_owner():
    inbox, outbox = Mailbox("in", 10, Overflow.REJECT), Mailbox("out", 10, Overflow.REJECT)
    told = []
    worker = Worker("doubling", lambda: pump(inbox, Doubler(), outbox), ended=told.append)
    worker.start()
    inbox.put(1)
    inbox.put(-1)
    assert worker.join(1.0)
    assert not worker.alive
    assert told == [worker]
    assert outbox.get(0) == 2
    with pytest.raises(ValueError, match="below zero"):
        worker.check()


def test_a_pump_ends_when_nobody_takes_its_results():
    outbox = Mailbox("out", 1, Overflow.KEEP_LATEST)
    outbox.close()
    seen = []

    def numbers():
        for number in range(100):
            seen.append(number)
            yield number

    pump(numbers(), Doubler(), outbox)
    assert seen == [0]


def test_a_worker_that_was_never_started_can_be_joined():
    assert Worker("idle", lambda: None).join(0.1)
