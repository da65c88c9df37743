"""Talk and a piano through the shipped network: what the guard takes away, what it leaves, its fit."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("soxr")

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.octaves import OctaveDoubt
from ivories.audio.voice_guard import FEATURES, TIMES
from ivories.datatypes import NoteKind, Origin
from ivories.inference.manifest import load_manifest
from ivories.resources import bundled_take
from ivories.sources.sound_file import SoundFileSource
from ivories_training.audio import talk
from ivories_training.audio.excerpts import ExcerptConfig, ExcerptMaker
from ivories_training.audio.listener import Listener
from ivories_training.audio.sample_bank import RATE, SampleBank
from ivories_training.audio.voices import formant_voice, spoken
from ivories_training.performances import read_midi
from ivories_training.thresholds import track

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener(load_manifest(MODELS / "audio.toml"), MODELS)


def onsets(listener: Listener, samples, rate=RATE, *, guarded=True):
    """(key, seconds, milliseconds until decided) of the notes that stay, by the default policy."""
    evidence = listener.hear_stream(samples, rate)
    if not guarded:
        bins, _ = listener.frontend.process(samples)
        evidence = listener.follow(bins)  # without a level nothing is guarded
        assert all(one.piano == 1.0 for one in evidence)
        evidence = OctaveDoubt().enter(evidence)
    events = track(evidence, Origin.AUDIO, tuple(listener.manifest.thresholds["balanced"]))
    taken_back = {event.key for event in events if event.retracts}
    return [
        (event.key, event.t_ns / 1e9, (event.decided_ns - event.t_ns) / 1e6)
        for event in events
        if event.kind is NoteKind.ONSET and event.key not in taken_back
    ]


def said(rng):
    heard = spoken("de+f3", 8 * RATE, rng)
    return formant_voice(8 * RATE, rng) if heard is None else heard


@pytest.mark.parametrize("make", [said, lambda rng: formant_voice(8 * RATE, rng)], ids=["said", "formants"])
def test_talk_is_hardly_taken_for_a_piano(listener, make) -> None:
    voices = [make(np.random.default_rng(seed)) for seed in (5, 6)]
    voices = [np.concatenate([np.zeros(RATE), 0.3 * v / np.abs(v).max()]).astype(np.float32) for v in voices]
    noise = np.random.default_rng(0).normal(0, 1e-4, 9 * RATE).astype(np.float32)
    open_ = sum(len(onsets(listener, v + noise, guarded=False)) for v in voices)
    guarded = sum(len(onsets(listener, v + noise)) for v in voices)
    assert open_ >= 12
    assert guarded <= 0.45 * open_  # before it is known for a voice, it costs a few


def test_a_piano_loses_nothing_and_comes_back_after_talk(listener) -> None:
    source = SoundFileSource(bundled_take())
    samples = np.concatenate([block.samples for block in source])
    truth = read_midi(bundled_take().with_suffix(".mid")).notes
    counted = truth[truth["onset_s"] < len(samples) / source.rate - 0.2]

    def right(found, by_s=0.0):
        return sum(
            any(key == n["key"] and abs(at - by_s - n["onset_s"]) < 0.05 for key, at, _ in found)
            for n in counted
        )

    plain = onsets(listener, samples, source.rate)
    import soxr

    open_ = onsets(listener, soxr.resample(samples, source.rate, RATE), guarded=False)
    assert right(plain) >= right(open_) >= 0.75 * len(counted)
    assert np.mean([late for *_, late in plain]) <= np.mean([late for *_, late in open_]) + 2
    voice = formant_voice(4 * RATE, np.random.default_rng(8))
    loud = np.interp(np.arange(0, 4, 1 / source.rate), np.arange(len(voice)) / RATE, voice)
    loud *= 0.5 * np.abs(samples).max() / np.abs(loud).max()
    later = onsets(listener, np.concatenate([loud, samples]).astype(np.float32), source.rate)
    assert right(later, by_s=4.0) >= right(plain) - 2


def test_scenes_are_repeatable_and_cases_know_what_was_struck(listener, sines: SampleBank) -> None:
    config = ExcerptConfig(seconds=3.0, background=0.0)
    first, second = (ExcerptMaker([], [sines], AudioFrontEnd(), config, seed=4) for _ in range(2))
    kinds = [talk.scene(first, index).kind for index in range(len(talk.KINDS))]
    assert set(kinds) == set(talk.COUNTS)
    for index in (1, 3, 6, 9):
        one, other = talk.scene(first, index), talk.scene(second, index)
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.notes, other.notes)
    heard = talk.gather(listener, first, (1, 2))
    piano, voice = (talk.usual(heard, kind) for kind in ("piano", "talk"))
    assert piano.shape == voice.shape == (len(FEATURES),)
    assert voice[0] > piano[0], "a voice glides"
    found = talk.cases(heard, piano)
    assert found.smoothed.shape == (len(found.sure), len(TIMES) * len(FEATURES))
    assert not found.struck[found.alone].any()
    assert found.struck[~found.alone].all(), "what is imagined in a piano's sound is left out"
    told = talk.fit_guard(heard)
    at_first = float((told.weights * told.begin).sum()) + told.bias
    assert at_first < float((told.weights * piano).sum()) + told.bias, "it begins with a doubt"


def test_the_fit_takes_off_what_tells_a_voice() -> None:
    rng = np.random.default_rng(1)
    count, wide = 4000, len(TIMES) * len(FEATURES)
    struck = rng.random(count) < 0.5
    smoothed = rng.normal(size=(count, wide))
    smoothed[:, 3] += np.where(struck, 2.0, -2.0)
    sure = rng.normal(np.where(struck, 1.0, 0.0), 1.0)
    made = talk.Cases(sure, smoothed, struck, np.ones(count), ~struck)
    found = talk.fit(made, np.zeros(len(FEATURES)))
    assert np.abs(found.weights).argmax() == 3
    right, talked = talk.passed(found, made)
    assert right > 0.95
    assert talked < 0.1
    kept = found.taken_off(made)
    assert np.median(kept[struck]) == 0
    assert np.median(kept[~struck]) < -2
    assert [line.split(":")[0] for line in found.lines()] == ["BEGIN", "WEIGHTS", "BIAS"]
