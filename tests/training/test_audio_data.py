"""Performances, pianos, excerpts and labels."""

from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.loudness import KNOTS
from ivories.errors import SourceError
from ivories.keyboard import KEYS
from ivories_training.audio import loudness
from ivories_training.audio.excerpts import ExcerptConfig, ExcerptMaker, read_shard, write_shard
from ivories_training.audio.labels import GHOST, HARD, energy, targets
from ivories_training.audio.room import Recorder
from ivories_training.audio.sample_bank import RATE, SampleBank, cached, read_sfz, read_wav_folder
from ivories_training.audio.synthesizer import Touch, synthesize
from ivories_training.invention import invent
from ivories_training.performances import find, performance, read_midi, split_of

TOUCH = Touch(range_db=30, damping_s=0.03, half_pedal=False, haze_db=-60, knock_db=-80)


def test_midi_is_read_with_pedal_and_repeats(tmp_path: Path) -> None:
    track = mido.MidiTrack()
    track += [
        mido.Message("note_on", note=60, velocity=80, time=0),
        mido.Message("control_change", control=64, value=100, time=240),
        mido.Message("note_off", note=60, time=240),  # 0.5 s, held by the pedal
        mido.Message("note_on", note=60, velocity=50, time=480),  # 1.0 s, strikes again
        mido.Message("control_change", control=64, value=0, time=480),  # 1.5 s
        mido.Message("note_on", note=60, velocity=0, time=480),  # 2.0 s
        mido.Message("note_on", note=10, velocity=90, time=0),  # no piano key
    ]
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(track)
    file.save(str(tmp_path / "a.mid"))
    played = read_midi(tmp_path / "a.mid")
    assert played.notes["onset_s"].tolist() == pytest.approx([0.0, 1.0])
    assert played.notes["offset_s"].tolist() == pytest.approx([0.5, 2.0])
    assert played.notes["sounding_end_s"].tolist() == pytest.approx([1.0, 2.0])
    assert played.notes["velocity"].tolist() == [80, 50]
    assert played.pedal.tolist() == [pytest.approx([0.25, 1.5])]


def test_splits_come_from_the_index_or_the_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no MIDI file"):
        find(tmp_path)
    for name in ("a.mid", "b.mid"):
        (tmp_path / name).write_bytes(b"")
    assert sum(len(paths) for paths in find(tmp_path).values()) == 2
    assert [p.name for p in find(tmp_path)[split_of("a.mid")] if p.name == "a.mid"]
    (tmp_path / "index.csv").write_text("file,split\na.mid,test\nb.mid,train\n")
    assert [p.name for p in find(tmp_path)["test"]] == ["a.mid"]
    (tmp_path / "index.csv").write_text("file,split\na.mid,tset\n")
    with pytest.raises(SourceError, match="tset"):
        find(tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_invented_performances_are_playable_and_repeatable(seed: int) -> None:
    played = invent(seed, 20.0)
    assert np.array_equal(played.notes, invent(seed, 20.0).notes)
    notes = played.notes
    assert len(notes) > 10
    assert notes["key"].min() >= 0
    assert notes["key"].max() < KEYS
    assert (notes["sounding_end_s"] >= notes["offset_s"]).all()
    for key in np.unique(notes["key"]):
        assert (np.diff(notes["onset_s"][notes["key"] == key]) >= 0.05 - 1e-9).all()


def test_a_note_sounds_from_its_onset_until_its_damper_falls(sines: SampleBank) -> None:
    played = performance("one", [(0.5, 1.0, 48, 100)], [])
    sound = synthesize(played, sines, 2.0, np.random.default_rng(0), TOUCH)
    assert not sound[: RATE // 2].any()
    assert np.abs(sound[RATE // 2 : RATE // 2 + 400]).max() > 0.01
    assert np.abs(sound[int(1.4 * RATE) :]).max() < 1e-3 * np.abs(sound).max()


def test_the_pedal_holds_and_the_top_keys_have_no_dampers(sines: SampleBank) -> None:
    held = performance("held", [(0.0, 0.2, 40, 100)], [(0.1, 1.5)])
    short = performance("short", [(0.0, 0.2, 40, 100)], [])
    top = performance("top", [(0.0, 0.2, 80, 100)], [])
    late = slice(RATE, int(1.4 * RATE))
    rng = np.random.default_rng(0)
    loud = [np.abs(synthesize(p, sines, 2.0, rng, TOUCH)[late]).max() for p in (held, short, top)]
    assert loud[0] > 100 * loud[1]
    assert loud[2] > 100 * loud[1]


def test_louder_velocity_is_louder(sines: SampleBank) -> None:
    def peak(velocity: int) -> float:
        played = performance("v", [(0.0, 1.0, 48, velocity)], [])
        return float(np.abs(synthesize(played, sines, 1.0, np.random.default_rng(0), TOUCH)).max())

    assert peak(127) / peak(1) == pytest.approx(10 ** (30 * 126 / 127 / 20), rel=0.01)


def test_labels_stand_where_the_notes_are() -> None:
    played = performance("two", [(0.105, 0.5, 10, 127), (0.2, 0.3, 20, 64)], [(0.25, 0.4)])
    keys, pedal = targets(played, 60, (2, 5, 9))
    assert keys.shape == (60, KEYS, 10)
    for channel, horizon in enumerate((2, 5, 9)):
        assert keys[:, 10, channel].argmax() == 10 + horizon  # 0.105 s lies in the middle of hop 10
        assert keys[10 + horizon, 10, channel] == 1
        assert keys[9 + horizon, 10, channel] == pytest.approx(0.5)
        assert keys[:, 10, channel].sum() == pytest.approx(2.0)
    assert keys[10:50, 10, 3].all()
    assert keys[20:40, 20, 3].all(), "the pedal holds the second note until 0.4 s"
    assert not keys[40:, 20, 3].any()
    assert keys[:, 20, 4].argmax() in (39 + 5, 40 + 5), "the damper falls with the pedal, not with the key"
    for hop in (10 + 2, 10 + 5, 10 + 9):
        assert keys[hop, 10, [5, -1]].tolist() == [1.0, 1.0], "velocity is known wherever an onset is judged"
        assert keys[hop + 10, 20, 5] == pytest.approx(64 / 127)
    assert not keys[:11, 10, -1].any()
    assert not keys[22:, 10, -1].any()
    assert pedal[25:40].all()
    assert pedal.sum() == 15


def test_repeats_and_what_lies_octaves_away_count_more() -> None:
    played = performance("again", [(0.105, 0.2, 40, 80), (0.305, 0.4, 40, 80), (0.305, 0.4, 52, 80)], [])
    keys, _ = targets(played, 60, (2, 5, 9))
    weight = keys[:, :, 6]  # of horizon 2
    assert weight[12, 40] == 1, "a first onset"
    assert weight[32, 40] == HARD, "an onset soon after another"
    assert weight[32, 52] == 1, "an octave that is played"
    assert weight[12, [16, 28, 52, 64]].tolist() == [GHOST] * 4, "silence octaves away from an onset"
    assert weight[12, [39, 41, 47]].tolist() == [1.0] * 3
    assert weight[22].tolist() == [1.0] * KEYS


def test_labels_of_a_part_equal_the_part_of_the_labels() -> None:
    played = invent(3, 6.0)
    whole, pedal = targets(played, 500, (2, 5, 9))
    part, foot = targets(played, 200, (2, 5, 9), first=250)
    np.testing.assert_allclose(part, whole[250:450], atol=1e-5)
    np.testing.assert_array_equal(foot, pedal[250:450])


def test_energy_is_the_sum_of_squares() -> None:
    assert energy(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2).tolist() == [5.0, 25.0]


def _write_piano(folder: Path) -> None:
    time = np.arange(RATE) / RATE
    for name, pitch in (("low", 40), ("high", 80)):
        tone = 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time)
        tone[:800] = 0  # silence before the attack
        soundfile.write(folder / f"{name}.flac", np.stack([tone, tone], 1), RATE)
    (folder / "piano.sfz").write_text(
        "#define $EXT flac\n<global> ampeg_release=1 // comment\n<group> hivel=60\n"
        "<region> lokey=21 hikey=60 pitch_keycenter=40 sample=low.$EXT\n"
        "<region> lokey=61 hikey=108 pitch_keycenter=80 sample=high.$EXT\n"
        "<group> lovel=61\n<region> lokey=21 hikey=108 pitch_keycenter=80 sample=high.$EXT\n"
        "<group> trigger=release\n<region> key=60 sample=missing.$EXT\n"
    )


def test_sfz_regions_become_a_bank_at_pitch(tmp_path: Path) -> None:
    _write_piano(tmp_path)
    bank = cached(tmp_path / "cache", "test", lambda: read_sfz(tmp_path / "piano.sfz"))
    again = cached(tmp_path / "cache", "test", lambda: pytest.fail("not cached"))
    assert [layer.highest for layer in bank.layers] == [60, 127]
    assert np.array_equal(bank.sample(30, 50), again.sample(30, 50))
    for key, velocity in ((5, 30), (50, 30), (50, 100)):
        sound = bank.sample(key, velocity)[400:8400].astype(float)
        peak = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * RATE / len(sound)
        assert peak == pytest.approx(440 * 2 ** ((key - 48) / 12), abs=3)
        assert np.abs(bank.sample(key, velocity)[:160]).max() > 0, "the attack is at the start"


def test_named_wav_files_are_counted(tmp_path: Path) -> None:
    tone = 0.2 * np.sin(np.arange(RATE // 4) / 5)
    for key in range(1, 89):
        soundfile.write(tmp_path / f"{key:02d}-PedalOffForte1Close.wav", tone, RATE)
        soundfile.write(tmp_path / f"{key:02d}-PedalOffPiano2Close.wav", tone, RATE)
    assert [layer.highest for layer in read_wav_folder(tmp_path).layers] == [64, 127]
    (tmp_path / "40-PedalOffForte1Close.wav").unlink()
    (tmp_path / "40-PedalOffPiano2Close.wav").unlink()
    with pytest.raises(SourceError, match="lacks samples of 1 keys"):
        read_wav_folder(tmp_path)


def test_excerpts_are_repeatable_and_shards_give_them_back(sines: SampleBank, tmp_path: Path) -> None:
    config = ExcerptConfig(seconds=2.0, background=0.3)
    first = ExcerptMaker([], [sines], AudioFrontEnd(), config, seed=1)
    second = ExcerptMaker([], [sines], AudioFrontEnd(), config, seed=1)
    shard = read_shard(write_shard(tmp_path, 0, first, range(4)))
    for row in range(4):
        bins, played = second.features(row)
        assert bins.shape == (200, 291, 3)
        assert np.array_equal(shard.bins[row], bins)
        assert np.array_equal(shard.played[row].notes, played.notes)
    other = ExcerptMaker([], [sines], AudioFrontEnd(), config, seed=2).features(0)[0]
    assert not np.array_equal(other, shard.bins[0])


def test_a_recording_is_finite_and_in_range() -> None:
    rng = np.random.default_rng(0)
    recorder = Recorder(rng, rooms=2, voices=2)
    for sound in (np.zeros(RATE, np.float32), rng.normal(0, 0.1, RATE).astype(np.float32)):
        for _ in range(12):
            heard = recorder.record(sound, rng)
            assert heard.dtype == np.float32
            assert np.isfinite(heard).all()
            assert np.abs(heard).max() <= 1.01
    for _ in range(8):
        assert np.isfinite(recorder.background(RATE, rng)).all()


def test_loudness_is_fitted_to_what_was_struck() -> None:
    rng = np.random.default_rng(3)
    notes, ages, partials = 4000, len(loudness.AGES), len(loudness.PARTIALS)
    key = rng.integers(0, KEYS, notes)
    heard = rng.normal(-50, 12, (notes, 1, 1)) + rng.normal(0, 3, (notes, 1, partials))
    weights = np.linspace(0.3, 0.05, partials)
    weights /= weights.sum()
    rise = np.array([3.0, 1.5, 0.5, 0.0, 0.0, 0.0])  # what an attack still gains at each age
    struck = heard - rise[:, np.newaxis]
    velocity = 60 + 2 * (heard[:, 0] @ weights + 0.1 * key) + rng.normal(0, 1, notes)
    made = loudness.Struck(np.broadcast_to(struck, (notes, ages, partials)), key, velocity, key % 5)
    found = loudness.fit(made)
    assert found.per_db == pytest.approx(2, rel=0.02)
    assert found.weights == pytest.approx(weights, abs=0.03)
    assert found.rise_db == pytest.approx(rise[:4], abs=0.2)
    assert np.diff(found.curve_db) == pytest.approx(0.1 * np.diff(KNOTS), abs=0.25)
    assert found.velocity(made).std(axis=1).max() < 1.5, "the same velocity at every age"
    assert loudness.correlations(found.velocity(made)[:, 0], made)[0] > 0.99
    assert any(line.startswith("WEIGHTS: Final = (") for line in found.lines())


def test_an_installed_instrument_plays_equal_velocities_equally_loud(sines: SampleBank) -> None:
    config = ExcerptConfig(seconds=1.5, strength=0.0, background=0.0, cents=0.0, installed=True)
    drawn = ExcerptMaker([], [sines], AudioFrontEnd(), config, seed=2)
    struck = loudness.gather(drawn, 8)
    assert len(struck.key) > 20
    assert struck.partials.shape == (len(struck.key), len(loudness.AGES), len(loudness.PARTIALS))
    assert set(struck.take) <= set(range(8))
    alone = struck.partials[:, 3, 1]  # the fundamental of sine tones
    assert np.corrcoef(alone, struck.velocity)[0, 1] > 0.9
    varied = ExcerptMaker([], [sines], AudioFrontEnd(), replace(config, installed=False), seed=2)
    same, other = drawn.sound(3), varied.sound(3)
    assert np.array_equal(same[1].notes, other[1].notes), "only loudness differs"
    assert not np.allclose(same[0], other[0])
