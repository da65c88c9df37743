"""What the take recorder keeps: the newest sound, notes and pictures, each with its time, and no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import AudioBlock, NoteKind, VideoFrame
from ivories.recorder.note_ring import PER_SECOND, NoteRing
from ivories.recorder.picture_ring import BITS_PER_SECOND, WIDEST, PictureRing
from ivories.recorder.sound_ring import RATE, SoundRing
from ivories.sources.video_file import luma_plane
from played import offset, onset, pedal

BLOCK = 400  # 25 ms


def value_of(sample):
    """A sound in which every sample of the first half minute is another one, as 16 bits."""
    return np.asarray(sample % 30_000, np.int16)


class Microphone:
    """Blocks of a card whose crystal is ``ppm`` parts in a million off."""

    def __init__(self, ring, ppm=0, start_ns=7 * SECOND):
        self.ring, self.start_ns, self.sample = ring, start_ns, 0
        self.period_ns = SECOND / RATE * (1 + ppm * 1e-6)

    def heard_ns(self, sample):
        return self.start_ns + round(sample * self.period_ns)

    def play(self, seconds, gap=0):
        self.sample += gap
        for _ in range(round(seconds * RATE / BLOCK)):
            places = np.arange(self.sample, self.sample + BLOCK)
            samples = (value_of(places) / np.float32(32767)).astype(np.float32)
            t_ns = self.heard_ns(self.sample)
            self.ring.push(AudioBlock(samples, RATE, self.sample, t_ns, gap))
            self.sample += BLOCK
            gap = 0
        return self


def test_the_newest_samples_are_kept_exactly_and_the_memory_does_not_grow():
    ring = SoundRing(2.0)
    microphone = Microphone(ring).play(5.3)
    assert ring.nbytes == 2 * 2 * RATE
    sound = ring.cut(0, 1 << 62)
    last = microphone.sample
    assert np.array_equal(sound.samples, value_of(np.arange(last - 2 * RATE, last)))
    assert sound.start_ns == microphone.heard_ns(last - 2 * RATE)


@settings(max_examples=30)
@given(st.floats(0, 6), st.floats(0, 6))
def test_any_piece_is_the_one_that_was_heard_then(start_s, length_s):
    ring = SoundRing(3.0)
    microphone = Microphone(ring).play(5.0)
    start_ns = microphone.start_ns + round(start_s * SECOND)
    sound = ring.cut(start_ns, start_ns + round(length_s * SECOND))
    first, last = max(2.0, start_s) * RATE, min(5.0, start_s + length_s) * RATE
    if sound is None:
        assert last - first < 1
        return
    assert len(sound.samples) == pytest.approx(last - first, abs=2)
    begin = round((sound.start_ns - microphone.start_ns) * RATE / SECOND)
    assert begin == pytest.approx(first, abs=1)
    assert np.array_equal(sound.samples, value_of(np.arange(begin, begin + len(sound.samples))))


@pytest.mark.parametrize("ppm", [-900, -30, 0, 30, 900])
def test_a_moment_is_found_at_its_sample_however_fast_the_crystal_is(ppm):
    ring = SoundRing(20.0)
    microphone = Microphone(ring, ppm).play(25.0)
    sound = ring.cut(0, 1 << 62)
    for place in (0, 1, 12_345, len(sound.samples) - 1):
        heard_ns = microphone.heard_ns(microphone.sample - len(sound.samples) + place)
        assert sound.moment(heard_ns) * RATE / SECOND == pytest.approx(place, abs=0.4)  # of a sample


@pytest.mark.parametrize("told", [True, False])
def test_lost_sound_is_silence_of_the_same_length(told):
    """``told``: the source counts the samples it lost, as ALSA's does; else only the time tells."""
    ring = SoundRing(10.0)
    microphone = Microphone(ring).play(1.0)
    if told:
        microphone.play(1.0, gap=RATE)
    else:
        microphone.start_ns += SECOND
        microphone.play(1.0)
    sound = ring.cut(0, 1 << 62)
    assert len(sound.samples) == 3 * RATE
    assert not sound.samples[RATE : 2 * RATE].any()
    later = 2 * RATE if told else RATE
    assert np.array_equal(sound.samples[2 * RATE :], value_of(np.arange(later, later + RATE)))
    assert sound.moment(7 * SECOND + 2_500 * MILLISECOND) == 2_500 * MILLISECOND


def test_a_microphone_that_comes_back_begins_to_count_anew():
    ring = SoundRing(10.0)
    Microphone(ring).play(1.0)
    Microphone(ring, start_ns=9 * SECOND).play(1.0)
    sound = ring.cut(0, 1 << 62)
    assert len(sound.samples) == 3 * RATE
    assert np.array_equal(sound.samples[2 * RATE :], value_of(np.arange(RATE)))


def test_a_pause_longer_than_the_ring_leaves_only_what_follows():
    ring = SoundRing(2.0)
    Microphone(ring).play(1.0)
    Microphone(ring, start_ns=3600 * SECOND).play(0.5)
    sound = ring.cut(0, 1 << 62)
    assert (len(sound.samples), sound.start_ns) == (RATE // 2, 3600 * SECOND)


def test_other_rates_are_resampled_in_their_place():
    ring = SoundRing(5.0)
    rate, tone = 48_000, 440.0
    for first in range(0, 2 * rate, 240):
        t = np.arange(first, first + 240) / rate
        samples = np.sin(2 * np.pi * tone * t).astype(np.float32)
        ring.push(AudioBlock(samples, rate, first, first * SECOND // rate))
    sound = ring.cut(0, 1 << 62)
    t = sound.start_ns / SECOND + np.arange(len(sound.samples)) / RATE
    wanted = np.sin(2 * np.pi * tone * t)
    assert np.abs(sound.samples / 32767 - wanted)[100:-100].max() < 0.01


def test_an_empty_ring_gives_nothing():
    assert SoundRing(1.0).cut(0, 1 << 62) is None
    assert NoteRing(1.0).cut(0, SECOND) == []


def test_only_notes_that_begin_inside_are_cut_out_and_all_of_them_end():
    ring = NoteRing(60)
    for event in (onset(1, 0.5), pedal(90, 0.8), onset(2, 1.5), offset(1, 1.6), onset(3, 2.0), offset(2, 2.5),
                  onset(4, 2.6), onset(5, 3.5), offset(4, 3.6), pedal(0, 3.7)):  # fmt: skip
        ring.push(event)
    cut = ring.cut(SECOND, 3 * SECOND)
    assert [(e.kind, e.key, e.t_ns / SECOND) for e in cut] == [
        (NoteKind.PEDAL, -1, 1.0), (NoteKind.ONSET, 2, 1.5), (NoteKind.ONSET, 3, 2.0),
        (NoteKind.OFFSET, 2, 2.5), (NoteKind.ONSET, 4, 2.6), (NoteKind.OFFSET, 4, 3.0),
        (NoteKind.OFFSET, 3, 3.0), (NoteKind.PEDAL, -1, 3.0),
    ]  # fmt: skip
    assert cut[0].velocity == 90


def test_what_is_too_old_or_too_much_is_forgotten_and_only_the_latter_counted():
    ring = NoteRing(1.0)
    ring.push(pedal(70, 0.0))
    for second in range(1, 100):
        ring.push(onset(second % 88, second))
    assert len(ring) <= 8
    assert ring.dropped == 0
    assert ring.cut(98 * SECOND, 100 * SECOND)[0].velocity == 70  # the pedal is down since
    for count in range(3 * PER_SECOND):
        ring.push(onset(count % 88, 100))
    assert len(ring) == PER_SECOND
    assert ring.dropped > 0


MOMENTS = st.floats(0, 5)
KEYS = st.integers(0, 2)
EVENTS = st.one_of(
    st.builds(onset, KEYS, MOMENTS),
    st.builds(offset, KEYS, MOMENTS, retracts=st.booleans()),
    st.builds(pedal, st.integers(0, 127), MOMENTS),
)


@given(st.lists(EVENTS, max_size=40), MOMENTS, MOMENTS)
def test_whatever_was_played_a_cut_lies_inside_and_leaves_nothing_down(events, start_s, length_s):
    ring = NoteRing(60)
    for event in events:
        ring.push(event)
    start_ns = round(start_s * SECOND)
    end_ns = start_ns + round(length_s * SECOND)
    down, foot = set(), 0
    for event in ring.cut(start_ns, end_ns):
        assert event.t_ns <= end_ns
        assert event.t_ns >= start_ns or event.kind is NoteKind.OFFSET
        if event.kind is NoteKind.PEDAL:
            foot = event.velocity
        else:
            (down.add if event.kind is NoteKind.ONSET else down.discard)(event.key)
    assert (down, foot) == (set(), 0)


def picture(number, height=120, width=160):
    """A bar that moves with ``number``."""
    luma = np.full((height, width), 40, np.uint8)
    luma[:, 4 * number % width : 4 * number % width + 8] = 200
    return luma


def film(ring, seconds, fps=15, start_ns=SECOND, **size):
    for number in range(round(seconds * fps)):
        ring.push(VideoFrame(picture(number, **size), start_ns + number * SECOND // fps, 0, number))


def decoded(pieces):
    """Return (time, luma) of all pictures."""
    result = []
    for piece in pieces:
        with piece.open() as container:
            frames = [luma_plane(frame).copy() for frame in container.decode(video=0)]
        result += zip(piece.times_ns, frames, strict=True)
    return result


def test_every_picture_comes_back_with_its_time():
    ring = PictureRing(60, 15)
    film(ring, 5)
    pictures = decoded(ring.cut(0, 1 << 62))
    assert [t for t, _ in pictures] == [SECOND + n * SECOND // 15 for n in range(75)]
    for number, (_, luma) in enumerate(pictures):
        assert np.abs(luma.astype(int) - picture(number)).mean() < 6
    middle = decoded(ring.cut(4 * SECOND, 5 * SECOND))
    assert middle[0][0] == 4 * SECOND
    assert 5 * SECOND <= middle[-1][0] < 7 * SECOND  # whole pieces of two seconds
    for number, (_, luma) in enumerate(middle, 45):
        assert np.abs(luma.astype(int) - picture(number)).mean() < 8


def test_pictures_are_forgotten_by_age_and_by_size():
    ring = PictureRing(4, 15)
    film(ring, 20)
    assert 4 <= len(decoded(ring.cut(0, 1 << 62))) / 15 <= 6.1
    noise = np.random.default_rng(0).integers(0, 256, (480, 640), np.uint8)
    busy = PictureRing(4, 15)
    for number in range(90):
        busy.push(VideoFrame(np.roll(noise, number * 37), number * SECOND // 15, 0, number))
        assert busy.nbytes <= 4 * BITS_PER_SECOND / 8


def test_large_and_odd_pictures_are_made_to_fit():
    for height, width in ((721, 1281), (121, 161), (480, 640)):
        ring = PictureRing(10, 15)
        film(ring, 0.5, height=height, width=width)
        (_, luma), *_ = decoded(ring.cut(0, 1 << 62))
        assert luma.shape[1] == min(WIDEST, width // 2 * 2)
        assert luma.shape[0] / luma.shape[1] == pytest.approx(height / width, abs=0.01)


def test_a_camera_of_another_size_or_clock_begins_anew():
    ring = PictureRing(60, 15)
    film(ring, 1)
    film(ring, 1, start_ns=3 * SECOND, height=240, width=320)
    pieces = ring.cut(0, 1 << 62)
    assert {piece.shape for piece in pieces} == {(240, 320)}
    film(ring, 1, start_ns=SECOND // 2)
    assert len(decoded(ring.cut(0, 1 << 62))) == 15
