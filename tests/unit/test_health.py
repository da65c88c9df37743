"""A sensor that is dead, dark, deafened or displaced must not pull the other down, and must come back."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import AudioBlock, NoteKind, Origin, RectifiedStrip
from ivories.fusion.health import Agreement, CameraHealth, MicrophoneHealth, SensorHealth, weighed
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.instrument import Instrument
from ivories.keyboard import KEYS
from ivories.runtime.timing import StageTimes
from ivories.vision.strip import StripSpec
from support import FRAME_NS, HOP_NS, Noticing, audio_evidence, video_evidence

SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
RATE = 48_000
BLOCK = 480


def hear(health, samples, first=0):
    """Push ``samples`` in blocks; return the weight after each."""
    return [
        health.push(AudioBlock(samples[i : i + BLOCK], RATE, i, (first + i) * SECOND // RATE))
        for i in range(0, len(samples), BLOCK)
    ]


def tone(seconds, amplitude):
    t = np.arange(round(seconds * RATE)) / RATE
    return np.clip(amplitude * np.sin(2 * np.pi * 220 * t), -1, 1).astype(np.float32)


def test_a_muted_microphone_counts_nothing_until_it_gives_a_sample():
    health = MicrophoneHealth()
    weights = hear(health, np.zeros(2 * RATE, np.float32))
    assert weights[:99] == [1.0] * 99
    assert set(weights[100:]) == {0.0}
    assert hear(health, tone(0.01, 1e-4)) == [1.0]


def test_a_quiet_room_is_not_a_dead_microphone():
    noise = np.random.default_rng(0).normal(0, 1e-4, 3 * RATE).astype(np.float32)
    assert set(hear(MicrophoneHealth(), noise)) == {1.0}


def test_clipped_sound_counts_less_and_recovers():
    health = MicrophoneHealth()
    assert set(hear(health, tone(1, 0.95))) == {1.0}
    assert 0.2 < hear(health, tone(3, 4.0))[-1] < 0.5
    assert hear(health, tone(3, 0.5))[-1] == 1.0
    assert health.push(AudioBlock(np.zeros(0, np.float32), RATE, 0, 0)) == 1.0


def strip(white, black, t_ns=0, visible=None):
    """A strip whose blocks are half bright and half dark, newest luma only."""
    pixels = np.zeros(StripSpec().shape, np.int8)
    pixels[..., -1] = white - 128
    pixels[:, ::2, -1] = black - 128
    return RectifiedStrip(pixels, t_ns, FRAME_NS, "x", np.ones(KEYS, bool) if visible is None else visible)


@pytest.mark.parametrize(
    ("white", "black", "seen", "drift", "low", "high"),
    [
        (200, 40, 88, 0.0, 1.0, 1.0),
        (52, 12, 88, 0.0, 1.0, 1.0),  # a dim lamp
        (14, 10, 88, 0.0, 0.0, 0.0),  # dark
        (200, 198, 88, 0.0, 0.0, 0.0),  # a hand, a sheet of music or fog before the lens
        (23, 10, 88, 0.0, 0.2, 0.8),
        (200, 40, 44, 0.0, 1.0, 1.0),  # half covered: the keys tell that themselves
        (200, 40, 3, 0.0, 0.0, 0.0),
        (200, 40, 88, 0.05, 1.0, 1.0),
        (200, 40, 88, 0.11, 0.3, 0.8),
        (200, 40, 88, 0.2, 0.0, 0.0),
    ],
)
def test_what_the_camera_shows_decides_its_weight(white, black, seen, drift, low, high):
    weight = CameraHealth().push(strip(white, black), np.arange(KEYS) < seen, drift)
    assert low <= weight <= high


def test_keys_outside_the_picture_are_not_held_against_the_camera():
    visible = np.arange(KEYS) < 12
    one = strip(200, 40, visible=visible)
    one.pixels[:, 12 * StripSpec().columns :] = 0
    assert CameraHealth().push(one, visible, 0.0) == 1.0


def test_the_camera_recovers_with_the_light():
    health = CameraHealth()
    every = np.ones(KEYS, bool)
    assert health.push(strip(12, 10, 0), every, 0.0) == 0.0
    assert health.push(strip(200, 40, FRAME_NS), every, 0.0) == 0.0
    assert health.push(strip(200, 40, SECOND // 5), every, 0.0) == 1.0


def test_agreement_takes_several_notes_to_fall_and_few_to_rise():
    agreement = Agreement()
    falls = 0
    while agreement.weight > 0:
        agreement.push(confirmed=False)
        falls += 1
    assert 5 <= falls <= 15
    for _ in range(100):
        agreement.push(confirmed=False)
    rises = 0
    while agreement.weight < 1:
        agreement.push(confirmed=True)
        rises += 1
    assert rises <= 4


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.9])
def test_a_sensor_that_often_misses_notes_is_not_called_dead(rate):
    agreement = Agreement()
    rng = np.random.default_rng(3)
    weights = []
    for confirmed in rng.random(600) < rate:
        agreement.push(confirmed=bool(confirmed))
        weights.append(agreement.weight)
    assert np.mean(np.array(weights) < 1) < 0.05
    for _ in range(60):
        agreement.push(confirmed=False)
    assert agreement.weight == 0


def test_weighing_scales_and_death_says_nothing():
    evidence = replace(audio_evidence(60, [(39, 50, 90)]), pedal=3.0)
    assert weighed(evidence, 1.0) is evidence
    half = weighed(evidence, 0.5)
    np.testing.assert_allclose(half.onset, evidence.onset / 2)
    np.testing.assert_allclose(half.frame, evidence.frame / 2)
    dead = weighed(evidence, 0.0)
    assert not dead.onset.any()
    assert not dead.frame.any()
    assert not dead.visible.any()
    assert np.isnan(dead.velocity).all()
    assert (dead.offset, dead.pedal) == (None, None)


def notes_of(count, every_hops=25, begin=50):
    """(key, onset_hop, offset_hop) spread over the middle of the keyboard."""
    return [(30 + 7 * n % 30, begin + n * every_hops, begin + n * every_hops + 15) for n in range(count)]


def in_ns(notes):
    return [(key, on * HOP_NS + 4 * MILLISECOND, off * HOP_NS) for key, on, off in notes]


def evidence_stream(notes, ear, eye):
    """Both sensors' evidence; ``ear(hop, evidence)`` and ``eye(frame, evidence)`` may change or drop it."""
    frame = 0
    for hop in range(notes[-1][2] + 60):
        while frame * FRAME_NS <= hop * HOP_NS:
            seen = eye(frame, video_evidence(frame, in_ns(notes), strength=9.0))
            frame += 1
            if seen is not None:
                yield seen
        heard = ear(hop, audio_evidence(hop, notes, strength=(9.0, 9.0, 9.0)))
        if heard is not None:
            yield heard


def whole(_, evidence):
    return evidence


def absent(_, evidence):
    return None


def deaf(hop, _):
    return audio_evidence(hop, [], silence=-6.0)


def blind(frame, _):
    return video_evidence(frame, [], doubt=-6.0)


def play(notes, ear, eye, settings=SETTINGS):
    """Run a tracker; return the keys of its onsets with their times, and the tracker."""
    tracker = Tracker(settings)
    events = [e for item in evidence_stream(notes, ear, eye) for e in tracker.push(item)]
    taken_back = sum(e.retracts for e in events)
    found = [(e.key, e.t_ns) for e in events if e.kind is NoteKind.ONSET]
    assert not tracker.state.pressed.any()
    return found, taken_back, tracker


def right(found, notes):
    """How many of ``notes`` were found within 50 ms."""
    return sum(
        any(k == key and abs(t - on * HOP_NS) <= 50 * MILLISECOND for k, t in found) for key, on, _ in notes
    )


NOTES = notes_of(40)
LATER = NOTES[15:]


def test_two_sound_sensors_keep_their_weight():
    found, _, tracker = play(NOTES, whole, whole)
    assert right(found, NOTES) == len(NOTES)
    assert tracker.weights == {Origin.AUDIO: 1.0, Origin.VIDEO: 1.0}


@pytest.mark.parametrize("dead", list(Origin))
def test_a_dead_sensor_that_still_talks_leaves_the_other_alone(dead):
    ear, eye = (deaf, whole) if dead is Origin.AUDIO else (whole, blind)
    found, taken_back, tracker = play(NOTES, ear, eye)
    alone, taken_back_alone, _ = play(
        NOTES, absent if dead is Origin.AUDIO else whole, absent if dead is Origin.VIDEO else whole
    )
    assert tracker.weights[dead] == 0.0
    assert right(found, LATER) >= right(alone, LATER) == len(LATER)
    assert len(found) <= len(alone)
    assert taken_back <= taken_back_alone + 8  # only until it was noticed


def test_a_plain_denial_of_the_dead_ear_would_have_mattered():
    """Evidence of the eye that suffices alone, and not against an ear that denies it."""

    def faint(frame, _):
        return video_evidence(frame, in_ns(NOTES), strength=8.0)

    found, _, _ = play(NOTES, deaf, faint)
    assert right(found, NOTES[:3]) == 0
    assert right(found, LATER) == len(LATER)


@pytest.mark.parametrize("dead", list(Origin))
def test_a_sensor_that_says_so_itself_is_left_out_at_once(dead):
    def deaf_and_ill(hop, _):
        return replace(deaf(hop, None), weight=0.0)

    def blind_and_ill(frame, _):
        return replace(blind(frame, None), weight=0.0)

    ear, eye = (deaf_and_ill, whole) if dead is Origin.AUDIO else (whole, blind_and_ill)
    found, taken_back, tracker = play(NOTES, ear, eye)
    assert right(found, NOTES) == len(NOTES) == len(found)
    assert taken_back == 0
    assert tracker.weights[dead] == 0.0


def test_the_word_of_a_dead_ear_does_not_make_the_eye_bolder():
    """The eye alone must be surer than eye and ear together; a dead ear is no ear."""
    settings = TrackerSettings(audio_thresholds=(0.0, 0.0, 0.0), video_thresholds=(6.0,) * 4)

    def faint(frame, _):
        return video_evidence(frame, in_ns(NOTES), strength=8.0)

    def dead(hop, _):
        return replace(audio_evidence(hop, [], silence=0.0), weight=0.0)

    assert play(NOTES, dead, faint, settings)[0] == play(NOTES, absent, faint, settings)[0] == []


@pytest.mark.parametrize("lost", list(Origin))
def test_a_sensor_unplugged_in_the_middle_falls_to_the_other_and_recovers(lost):
    step = HOP_NS if lost is Origin.AUDIO else FRAME_NS

    def unplugged(n, evidence):
        return None if 4 * SECOND < n * step < 7 * SECOND else evidence

    ear, eye = (unplugged, whole) if lost is Origin.AUDIO else (whole, unplugged)
    found, taken_back, tracker = play(NOTES, ear, eye)
    assert right(found, NOTES) == len(NOTES) == len(found)
    assert taken_back == 0
    assert tracker.weights == {Origin.AUDIO: 1.0, Origin.VIDEO: 1.0}


@pytest.mark.parametrize("dead", list(Origin))
def test_a_revived_sensor_counts_again_within_a_few_notes(dead):
    revived_ns = 7 * SECOND

    def ear(hop, evidence):
        return deaf(hop, None) if dead is Origin.AUDIO and hop * HOP_NS < revived_ns else evidence

    def eye(frame, evidence):
        return blind(frame, None) if dead is Origin.VIDEO and frame * FRAME_NS < revived_ns else evidence

    tracker = Tracker(SETTINGS)
    weights = [(e.t_ns, tracker.push(e), tracker.weights[dead]) for e in evidence_stream(NOTES, ear, eye)]
    assert any(w == 0 for _, _, w in weights)
    assert all(w == 1 for t_ns, _, w in weights if t_ns > revived_ns + 2 * SECOND)


def test_two_sensors_that_contradict_each_other_both_count():
    """Nobody can tell which of them is wrong: the eye looks at one piano, the ear hears another."""
    seen, heard = notes_of(40, begin=50), [(key + 3, on + 9, off + 9) for key, on, off in notes_of(40)]
    health = SensorHealth()
    told = Noticing(health)
    items = [audio_evidence(hop, heard, strength=(9, 9, 9)) for hop in range(1050)]
    items += [video_evidence(f, in_ns(seen), strength=9.0) for f in range(315)]
    for item in sorted(items, key=lambda e: e.t_ns):
        told.push(item)
    assert max(health.weights.values()) == 1.0
    assert min(health.weights.values()) == 1.0


def test_a_sensor_alone_is_never_weighed_down():
    def clipped(_, evidence):
        return replace(evidence, weight=0.4)

    found, _, tracker = play(NOTES, clipped, absent)
    assert tracker.weights == {Origin.AUDIO: 1.0, Origin.VIDEO: 0.0}
    assert right(found, NOTES) == len(NOTES)


def test_a_clipped_ear_is_weighed_down_beside_a_sound_eye():
    health = SensorHealth()
    told = Noticing(health)
    for item in evidence_stream(NOTES[:5], lambda _, e: replace(e, weight=0.4), whole):
        told.push(item)
    assert health.weights == {Origin.AUDIO: 0.4, Origin.VIDEO: 1.0}


def test_the_log_tells_once_and_when_it_is_over(caplog):
    instrument = Instrument(Tracker(SETTINGS), [], StageTimes())

    def ear(hop, evidence):
        return deaf(hop, None) if hop < 700 else evidence

    with caplog.at_level(logging.INFO):
        for item in evidence_stream(NOTES, ear, whole):
            instrument.push(item)
        instrument.finish()
    told = [r.message for r in caplog.records if "microphone" in r.message]
    assert told == ["the microphone tells nothing to go by and counts no more", "the microphone counts again"]
