"""Velocities: how loud a note is in the spectrum, and what that means on this instrument."""

import json
import logging
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.loudness import WEIGHTS, KeyLoudness, still_to_come_db
from ivories.audio.spec import FrontEndSpec
from ivories.clock import MILLISECOND
from ivories.datatypes import AudioBlock, NoteKind, Spectrum
from ivories.fusion.loudness_filter import LoudnessFilter
from ivories.fusion.touch import USUAL, Touch, TouchScale
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.keyboard import KEYS
from ivories.touch_store import OFFER_S, TouchStore
from support import AUDIO_HORIZONS, FRAME_NS, HOP_NS, audio_evidence, video_evidence

SPEC = FrontEndSpec()
SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))
EARLY = msgspec.structs.replace(SETTINGS, wait_ms=0.0)
MIDDLE_C = 39


def strike(gain, key=MIDDLE_C, seconds=0.4):
    """A decaying note of seven partials from half of ``seconds`` on."""
    time = np.arange(round(seconds * SPEC.rate)) / SPEC.rate - seconds / 2
    f0 = 440 * 2 ** ((key + 21 - 69) / 12)
    tone = sum(np.sin(2 * np.pi * n * f0 * time) / n for n in range(1, 8))
    return (gain * tone * np.exp(-time / 0.5) * (time >= 0)).astype(np.float32)


def spectra(samples):
    return AudioFrontEnd(SPEC).push(AudioBlock(samples, SPEC.rate, 0, 0))


def loudness_of(samples, key=MIDDLE_C):
    """Loudness told 70 ms after the onset of ``strike``."""
    ear = KeyLoudness(SPEC)
    told = [ear.push(spectrum)[key] for spectrum in spectra(samples)]
    return told[20 + 6]


def test_twice_the_sound_is_six_decibels_more_wherever_the_level_stands():
    assert loudness_of(strike(0.2)) - loudness_of(strike(0.1)) == pytest.approx(6.02, abs=0.5)
    before = np.sin(2 * np.pi * 3000 * np.arange(3200) / SPEC.rate).astype(np.float32)
    disturbed = strike(0.1)
    disturbed[:3200] += before  # a loud tone of another pitch just before: the bins shrink, the note does not
    assert loudness_of(disturbed) == pytest.approx(loudness_of(strike(0.1)), abs=1.5)


@pytest.mark.parametrize("key", [0, 12, 39, 63, 87])
def test_every_key_has_partials_that_can_be_heard(key):
    soft, loud = (loudness_of(strike(gain, key), key) for gain in (0.02, 0.2))
    assert loud - soft == pytest.approx(20, abs=1.5)


def test_a_peak_is_kept_for_a_moment_and_a_gap_forgets_it():
    ear = KeyLoudness(SPEC)
    loud = Spectrum(np.full(SPEC.shape, 127, np.int8), 0, 0, -10.0)
    silence = Spectrum(np.full(SPEC.shape, -128, np.int8), 1, HOP_NS, -55.0)
    peak = ear.push(loud)
    for frame in range(1, 6):
        assert ear.push(replace(silence, frame=frame)) == pytest.approx(peak)
    assert (ear.push(replace(silence, frame=6)) < peak - 40).all()
    ear.push(replace(loud, frame=7))
    assert (ear.push(replace(silence, frame=20)) < peak - 40).all()


def test_evidence_tells_of_an_attack_that_is_still_growing():
    [one] = KeyLoudness(SPEC).enter(
        Spectrum(np.full(SPEC.shape, 127, np.int8), 0, 0, -10.0), [audio_evidence(0, [])]
    )
    assert one.loudness.shape == (len(AUDIO_HORIZONS), KEYS)
    assert not one.loudness.flags.writeable
    rise = one.loudness[:, 0] - one.loudness[-1, 0]
    assert rise == pytest.approx(still_to_come_db([h * HOP_NS for h in AUDIO_HORIZONS]), abs=1e-4)
    assert rise[0] > 1
    assert sum(WEIGHTS) == pytest.approx(1, abs=0.002)


KNOWN = TouchScale.even(-40.0, 1000)


def hear(tracker, played, hops, gain_db=0.0, strength=(9, 9, 9)):
    """Play (key, onset_hop, offset_hop, loudness) into ``tracker``; return its onsets."""
    events = []
    for hop in range(hops):
        loudness = np.full((len(AUDIO_HORIZONS), KEYS), -90.0, np.float32)
        for key, start, _, level in played:
            if start <= hop < start + 12:
                loudness[:, key] = level + gain_db
        evidence = audio_evidence(hop, [p[:3] for p in played], strength=strength)
        events += tracker.push(replace(evidence, loudness=loudness))
    return [e for e in events if e.kind is NoteKind.ONSET]


LEVELS = (-50.0, -40.0, -45.0, -30.0, -42.0, -36.0, -48.0, -33.0)
PLAYED = [(31 * i % KEYS, 20 + 15 * i, 30 + 15 * i, LEVELS[i % 8]) for i in range(80)]


def test_velocities_follow_loudness_whatever_the_gain():
    told = {}
    for gain in (0.0, -25.0):
        tracker = Tracker(SETTINGS)
        onsets = hear(tracker, PLAYED, 1250, gain, strength=(0, 9, 9))  # heard for 50 ms
        assert len(onsets) == len(PLAYED)
        told[gain] = np.array([e.velocity for e in onsets])
        assert np.corrcoef(told[gain][20:], [p[3] for p in PLAYED][20:])[0, 1] > 0.97
        assert told[gain][40:].mean() == pytest.approx(USUAL, abs=3)
        assert tracker.touch.mean_db == pytest.approx(np.mean(LEVELS) + gain, abs=1)
    assert told[0.0] == pytest.approx(told[-25.0], abs=1)


def test_the_first_note_of_an_unknown_instrument_is_a_usual_one():
    assert hear(Tracker(SETTINGS), PLAYED[:1], 60)[0].velocity == USUAL


def test_a_known_scale_tells_a_soft_piece_from_a_loud_one_and_outlives_a_reset():
    for level, softer in ((-52.0, True), (-28.0, False)):
        tracker = Tracker(SETTINGS, touch=KNOWN)
        tracker.reset()
        notes = [(50, 20 + 15 * i, 30 + 15 * i, level) for i in range(4)]
        told = [onset.velocity - USUAL for onset in hear(tracker, notes, 80)]
        assert [(velocity < 0) == softer for velocity in told] == [True] * 4
        assert abs(told[0]) > 15
        assert abs(told[-1]) > 25


def see(tracker, key, at_ns):
    """Let the eye alone announce a stroke of ``key`` at ``at_ns``; return its onsets."""
    first = round((at_ns - 20 * MILLISECOND) / FRAME_NS)
    strokes = [(key, at_ns, 10**12)]
    seen = [
        e for f in range(first, first + 6) for e in tracker.push(video_evidence(f, strokes, strength=14.0))
    ]
    return [e for e in seen if e.kind is NoteKind.ONSET]


def test_a_note_that_only_the_eye_knows_is_as_loud_as_the_last_ones_around_it():
    """Two voices: a loud one above, a soft one below."""
    voices = [(key, 20 + 15 * i, 30 + 15 * i, -28.0) for i, key in enumerate(range(60, 75))]
    voices += [(key, 20 + 15 * i, 30 + 15 * i, -52.0) for i, key in enumerate(range(20, 35))]
    told = {}
    for key in (32, 72):
        tracker = Tracker(EARLY, touch=KNOWN)
        hear(tracker, voices, 250)
        [told[key]] = [e.velocity for e in see(tracker, key, 252 * HOP_NS)]
    assert told[32] < USUAL - 20
    assert told[72] > USUAL + 20


def test_a_loud_piece_is_remembered_for_minutes_and_a_loud_voice_for_seconds():
    """How loud is a note that only the eye knows, so long after ten loud ones beside it?"""
    told = []
    for pause_s in (0.1, 10, 1800):
        touch = Touch(KNOWN)
        loud = np.full((len(AUDIO_HORIZONS), KEYS), -28.0, np.float32)
        for hop in range(0, 200, 10):
            touch.strike(60, hop * HOP_NS)
            touch.push(replace(audio_evidence(hop + 6, []), loudness=loud))
        told.append(touch.strike(61, 200 * HOP_NS + round(pause_s * 1e9)))
    assert told[0] > told[1] + 3 > USUAL + 10
    assert told[2] == USUAL


def test_the_longer_a_note_is_heard_the_more_its_own_loudness_counts():
    """Before its sound a loud note among soft ones counts as soft as they; after it as itself."""
    soft = np.full((len(AUDIO_HORIZONS), KEYS), -52.0, np.float32)
    told = []
    for heard_hops in (0, 3, 6):
        touch = Touch(KNOWN)
        for key, hop in ((59, 0), (61, 10)):
            touch.push(replace(audio_evidence(hop, []), loudness=soft))
            touch.strike(key, hop * HOP_NS)
        for hop in range(11, 20 + heard_hops + 1):
            touch.push(replace(audio_evidence(hop, []), loudness=soft + (24.0 if hop > 20 else 0.0)))
        told.append(touch.strike(60, 20 * HOP_NS + HOP_NS // 2))
    assert told[0] < USUAL - 20 < told[1] < told[2]
    assert told[2] >= USUAL + 10


def test_a_note_that_left_before_its_sound_teaches_the_scale_once_it_is_heard():
    touch = Touch()
    touch.push(
        replace(audio_evidence(19, []), loudness=np.full((len(AUDIO_HORIZONS), KEYS), -90.0, np.float32))
    )
    touch.strike(60, 30 * HOP_NS)
    assert touch.scale is None
    for hop in range(20, 40):
        level = np.full((len(AUDIO_HORIZONS), KEYS), -33.0 if hop >= 30 else -90.0, np.float32)
        touch.push(replace(audio_evidence(hop, []), loudness=level))
    assert touch.scale.mean_db == pytest.approx(-33.0)
    assert sum(touch.scale.key_notes) == touch.scale.key_notes[60] == 1


def test_without_loudness_the_networks_own_word_counts():
    touch = Touch()
    assert touch.strike(40, 0) == USUAL
    touch.push(replace(audio_evidence(3, []), velocity=np.full(KEYS, 0.9, np.float32)))
    assert touch.strike(40, 0) == round(0.9 * 127)
    assert touch.scale is None


def struck(notes, known=None):
    """Let ``notes``, (key, hop, loudness) each, be heard; return the touch and their velocities."""
    touch, told, level = Touch(known), [], np.full((len(AUDIO_HORIZONS), KEYS), -90.0, np.float32)
    for key, hop, loudness_db in notes:
        level[:, key] = loudness_db
        for after in range(7):
            touch.push(replace(audio_evidence(hop + after, []), loudness=level.copy()))
            if after == 5:
                told.append(touch.strike(key, hop * HOP_NS + HOP_NS // 2))
    return touch, told


def test_a_piano_whose_registers_differ_is_made_up_for():
    rng = np.random.default_rng(3)
    keys, force_db = rng.integers(0, KEYS, 300), rng.normal(0, 3, 300)
    notes = [
        (int(key), 10 * i, -40.0 + 12 * (0.5 - key / 87) + more)
        for i, (key, more) in enumerate(zip(keys, force_db, strict=True))
    ]
    touch, told = struck(notes)
    assert np.corrcoef(told[150:], force_db[150:])[0, 1] > 0.9
    assert abs(np.corrcoef(told[150:], keys[150:])[0, 1]) < 0.2
    assert touch.scale.key_db[0] - touch.scale.key_db[-1] == pytest.approx(12, abs=3)
    assert sum(touch.scale.key_notes) == 300


def test_what_follows_is_soft_or_loud_beside_the_first_piece():
    """The scale stays where the first thirty notes set it, kept or not, however many soft ones follow."""
    first = [(40 + i % 20, 10 * i, -34.0) for i in range(30)]
    second = [(40 + i % 20, 20000 + 10 * i, -44.0) for i in range(30)]
    touch, _ = struck(first)
    for told in (struck(first + second)[1][30:], struck(second, touch.scale)[1]):
        assert np.mean(told) == pytest.approx(USUAL - 20, abs=6)


def test_a_single_key_that_is_louder_than_those_beside_it_is_made_up_for():
    rng = np.random.default_rng(5)
    keys, force_db = rng.integers(40, 52, 400), rng.normal(0, 3, 400)
    notes = [
        (int(key), 10 * i, -40.0 + (6 if key == 45 else 0) + more)
        for i, (key, more) in enumerate(zip(keys, force_db, strict=True))
    ]
    touch, told = struck(notes)
    odd = keys[200:] == 45
    assert np.mean(np.array(told[200:])[odd]) == pytest.approx(np.mean(np.array(told[200:])[~odd]), abs=5)
    assert touch.scale.key_db[45] - touch.scale.key_db[50] == pytest.approx(6, abs=2)
    again, _ = struck([], touch.scale)
    assert again.scale == touch.scale


def test_soft_music_in_one_register_and_loud_music_in_another_tell_of_no_curve():
    soft = [(20 + i % 12, 10 * i, -52.0) for i in range(60)]
    loud = [(60 + i % 12, 4000 + 10 * i, -28.0) for i in range(60)]
    touch, told = struck(soft + loud, KNOWN)
    assert max(told[30:60]) < USUAL - 20
    assert min(told[90:]) > USUAL + 20
    assert np.ptp(touch.scale.key_db) < 5


def test_a_kept_scale_takes_a_soft_piece_for_soft_and_a_moved_microphone_in_the_end():
    """Ten decibels less: at first the music, after half an hour the microphone."""
    known = LoudnessFilter(KNOWN.key_db, KNOWN.key_notes)
    above_db = []
    for i, key in enumerate(np.random.default_rng(4).integers(20, 70, 6000).tolist()):
        onset_ns = 300 * MILLISECOND * i
        above_db.append(known.above_db(key, onset_ns, -50.0, trust=0.3))
        known.learn(key, onset_ns, -50.0)
    assert np.mean(above_db[20:120]) < -7
    assert np.mean(above_db[-500:]) > -3


def test_what_was_taken_back_teaches_nothing():
    touch = Touch()
    loud = replace(audio_evidence(20, []), loudness=np.zeros((len(AUDIO_HORIZONS), KEYS), np.float32))
    touch.push(loud)
    touch.strike(40, loud.t_ns)
    touch.take_back(40)
    touch.push(replace(loud, t_ns=loud.t_ns + 100 * MILLISECOND))
    assert touch.scale is None


def test_the_scale_is_kept_from_one_start_to_the_next(tmp_path):
    now = [0.0]
    store = TouchStore(tmp_path / "touch.json", lambda: now[0])
    assert store.load() is None
    store.offer(lambda: TouchScale.even(-41.5, 80))
    assert not store.path.exists()  # too soon
    now[0] = OFFER_S + 1
    store.offer(lambda: TouchScale.even(-41.5, 90))
    store.close()
    assert TouchStore(store.path).load() == TouchScale.even(-41.5, 90)
    store.keep(TouchScale.even(-40.0, 120))
    assert TouchStore(store.path).load() == TouchScale.even(-40.0, 120)
    store.keep(KNOWN)
    assert TouchStore(store.path).load() == KNOWN


def scale_file(key_db, key_notes):
    return json.dumps({"key_db": key_db, "key_notes": key_notes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"mean_db": -40.0, "notes": 3}',
        scale_file([-40.0] * 87, [1.0] * 88),
        scale_file([-40.0] * 88, [1.0] * 87),
        scale_file([-40.0] * 88, [0.0] * 88),
        scale_file([-40.0] * 88, [-1.0] + [3.0] * 87),
        scale_file([-4e5] * 88, [1.0] * 88),
        scale_file([-40.0] * 88, [1.0] * 88).replace(b"-40", b"1e999", 1),
    ],
)
def test_a_damaged_scale_is_told_and_learned_anew(tmp_path, caplog, content):
    path = tmp_path / "touch.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert TouchStore(path).load() is None
    assert "learned anew" in caplog.text


def test_nothing_is_kept_or_told_where_there_is_no_folder_for_it(tmp_path, caplog):
    TouchStore(tmp_path / "none" / "touch.json").keep(TouchScale.even(-40.0, 5))
    assert not (tmp_path / "none").exists()
    assert not caplog.records
