"""A voice must close the ear within a second, a piano open it; silence and fans must not close it."""

import logging

import numpy as np
import pytest

from ivories.audio.spec import FrontEndSpec
from ivories.audio.voice_guard import BEGIN, BIAS, COLD, LEAST, WEIGHTS, VoiceGuard, doubted
from ivories.datatypes import NoteKind, Origin, Spectrum
from ivories.fusion.health import SensorHealth
from ivories.fusion.tracker import Tracker, TrackerSettings
from ivories.instrument import Instrument
from ivories.runtime.timing import StageTimes
from support import FRAME_NS, HOP_NS, Noticing, audio_evidence, video_evidence

SPEC = FrontEndSpec()
COLD_HOPS = 26  # the longest window is 4096 samples
BEGUN = float(np.exp((np.array(WEIGHTS) * BEGIN).sum() + BIAS))
SETTINGS = TrackerSettings(audio_thresholds=(2.0, 1.0, 0.0), video_thresholds=(3.0, 2.0, 1.0, 0.0))


def spectrum(frame, bands=(), level_db=-20.0):
    """A few partials, each three bands wide, over nothing."""
    bins = np.full(SPEC.shape, -128, np.int8)
    for band in bands:
        bins[band - 1 : band + 2] = [[60], [120], [60]]
    return Spectrum(bins, frame, (frame + 1) * HOP_NS, level_db)


def voice(hop):
    """Partials that glide up and down by four bands, and an ear that is half sure of ever other notes."""
    moved = round(4 * np.sin(hop / 7))
    heard = audio_evidence(hop, [(30 + hop // 9 % 12, hop - hop % 9, hop)], strength=(5.0, 6.0, 5.5))
    heard.frame[30 + hop // 9 % 12] = 2.5
    return spectrum(hop, [band + moved for band in (100, 136, 157, 172)], -20 + 4 * np.sin(hop / 5)), heard


def piano(hop, first=0):
    """Two notes a second whose partials stand still, and an ear that is sure of them."""
    start = hop - (hop - first) % 50
    heard = audio_evidence(hop, [(40, start, start + 45)], strength=(7.0, 9.0, 10.0))
    level = -20 + 6 * np.exp(-(hop - start) / 3)
    return spectrum(hop, [100, 136, 157, 172] if hop - start < 45 else [], level), heard


def follow(guard, sound, hops):
    return np.array([guard.push(*sound(hop)) for hop in hops])


def test_a_voice_closes_the_ear_and_a_piano_opens_it_again():
    guard = VoiceGuard(SPEC)
    assert (follow(guard, piano, range(300))[COLD_HOPS:] > 0.9).all()
    talk = follow(guard, voice, range(300, 500))
    assert (talk[100:] < 0.02).all()
    assert talk.min() >= np.exp(LEAST) * 0.999
    again = follow(guard, lambda hop: piano(hop, 500), range(500, 700))
    assert (again[150:] > 0.9).all()


def test_what_is_heard_before_the_windows_are_full_must_be_surer():
    guard = VoiceGuard(SPEC)
    first = follow(guard, piano, range(60))
    assert first[:COLD_HOPS].max() == pytest.approx(np.exp(COLD))
    assert (first[COLD_HOPS:] > 0.9).all()
    after_gap = [guard.push(*piano(hop)) for hop in range(3)]
    np.testing.assert_allclose(after_gap, np.exp(COLD), rtol=1e-6)


@pytest.mark.parametrize("loud", [False, True])
def test_silence_and_fans_never_close_the_ear(loud):
    rng = np.random.default_rng(2)
    guard = VoiceGuard(SPEC)
    told = []
    for hop in range(1500):
        bins = rng.integers(0, 127, SPEC.shape).astype(np.int8) if loud else spectrum(hop).bins
        told.append(guard.push(Spectrum(bins, hop, hop * HOP_NS, -30.0), audio_evidence(hop, [])))
    np.testing.assert_allclose(told[COLD_HOPS:], BEGUN, rtol=1e-6)


def test_it_begins_with_a_doubt_that_a_clear_note_overcomes_at_once():
    assert 0.1 < BEGUN < 0.2
    guard, tracker = VoiceGuard(SPEC), Tracker(SETTINGS)
    follow(guard, lambda hop: (spectrum(hop), audio_evidence(hop, [])), range(100))
    told = []
    for hop in range(100, 130):
        sound, _ = piano(hop, 100)
        strong = audio_evidence(hop, [(40, 100, 145)], strength=(11.0, 12.0, 12.0))
        told += [e for one in guard.enter(sound, [strong]) for e in tracker.push(one)]
    assert [(e.kind, e.key) for e in told] == [(NoteKind.ONSET, 40)]
    assert told[0].decided_ns <= (100 + 5 + 1) * HOP_NS


def test_a_pause_between_sentences_decides_nothing_and_a_long_one_forgives():
    guard = VoiceGuard(SPEC)
    follow(guard, voice, range(200))
    pause = follow(guard, lambda hop: (spectrum(hop), audio_evidence(hop, [])), range(200, 12_000))
    assert (pause[:200] < 0.02).all()
    assert pause[-1] == pytest.approx(BEGUN, rel=0.15)


def test_a_doubted_ear_neither_affirms_nor_denies():
    heard = audio_evidence(60, [(39, 50, 90)], strength=(9.0, 9.0, 9.0))
    heard.onset[2, 39] = 9.0
    assert doubted(heard, 1.0) is heard
    half = doubted(heard, 0.01)
    assert half.piano == 0.01
    assert half.onset[2, 39] == pytest.approx(np.log(0.01 * np.exp(9) + 0.99), rel=1e-4)
    assert half.onset[2, 10] == pytest.approx(0, abs=0.02)
    np.testing.assert_array_equal(half.frame, heard.frame)


def test_beside_a_sound_eye_an_ear_that_hears_a_voice_counts_nothing_and_alone_it_goes_on():
    alone, both = SensorHealth(), SensorHealth()
    by_ear, by_both = Noticing(alone), Noticing(both)
    for hop in range(100):
        heard = doubted(audio_evidence(hop, []), 0.001)
        by_ear.push(heard)
        by_both.push(heard)
        by_both.push(video_evidence(hop * HOP_NS // FRAME_NS, []))
    assert alone.weights == {Origin.AUDIO: 1.0, Origin.VIDEO: 0.0}
    assert both.weights == {Origin.AUDIO: 0.0, Origin.VIDEO: 1.0}
    by_both.push(audio_evidence(100, []))
    assert both.weights == {Origin.AUDIO: 1.0, Origin.VIDEO: 1.0}


@pytest.mark.parametrize("with_eye", [False, True])
def test_the_log_and_the_gauges_tell_that_a_voice_is_heard(caplog, with_eye):
    instrument = Instrument(Tracker(SETTINGS), [], StageTimes())
    gauges = []
    with caplog.at_level(logging.INFO):
        for hop in range(900):
            heard = audio_evidence(hop, [])
            instrument.push(doubted(heard, 0.001) if hop // 100 % 2 else heard)
            if with_eye:
                instrument.push(video_evidence(hop * HOP_NS // FRAME_NS, []))
            gauges.append(instrument.controls.health()["microphone"])
        instrument.finish()
    assert max(gauges[110:190]) <= 0.001
    assert min(gauges[210:290]) == 1.0
    told = [r.message for r in caplog.records if "microphone" in r.message]
    assert len(told) == 2, "once a minute is enough"
    assert "hears a voice" in told[0]
    assert told[1] == "the microphone hears a piano again"


@pytest.mark.parametrize(("strength", "notes"), [(8.0, []), (20.0, [40])])
def test_in_talk_a_note_needs_a_surer_ear(strength, notes):
    """What suffices where a piano is heard: 8. The surest ear is believed at once."""

    def keys(piano):
        tracker = Tracker(SETTINGS)
        heard = (audio_evidence(hop, [(40, 50, 90)], strength=(strength,) * 3) for hop in range(100))
        events = [event for one in heard for event in tracker.push(doubted(one, piano))]
        return [event.key for event in events if event.kind is NoteKind.ONSET]

    assert keys(1.0) == [40]
    assert keys(float(np.exp(LEAST))) == notes
