import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories import native
from ivories.audio.frontend import AudioFrontEnd
from ivories.audio.spec import FrontEndSpec, tables
from ivories.clock import SECOND
from ivories.datatypes import AudioBlock
from signals import RATE, SPECS, melody, noise

SOUND = melody(2 * RATE)


def blocks(samples, lengths, rate=RATE, start_ns=0):
    """Cut ``samples`` into blocks of ``lengths``, over and over."""
    at = turn = 0
    while at < len(samples):
        part = samples[at : at + lengths[turn % len(lengths)]]
        yield AudioBlock(part, rate, at, start_ns + round(at * SECOND / rate))
        at += len(part)
        turn += 1


def stream(front_end, parts):
    return [spectrum for block in parts for spectrum in front_end.push(block)]


def reference(spec, samples):
    """The same features by numpy's FFT in float64: dB (T, bands, windows) and level (T,)."""
    made = tables(spec)
    padded = np.concatenate([np.zeros(max(w.length for w in spec.windows)), samples.astype(np.float64)])
    frames = len(samples) // spec.hop
    db = np.empty((frames, *spec.shape))
    for i, (window, taper, bands) in enumerate(zip(spec.windows, made.tapers, made.bands, strict=True)):
        matrix = np.zeros((window.size // 2 + 1, spec.bands))
        row = np.repeat(np.arange(spec.bands), bands.count)
        column = np.concatenate([np.arange(s, s + c) for s, c in zip(bands.start, bands.count, strict=True)])
        matrix[column, row] = bands.weights
        for t in range(frames):
            end = len(padded) - len(samples) + (t + 1) * spec.hop
            power = np.abs(np.fft.rfft(padded[end - window.length : end] * taper, window.size)) ** 2
            db[t, :, i] = 10 * np.log10(power @ matrix + 2.0**-40)
    level = np.empty(frames)
    now = spec.floor_db
    for t in range(frames):
        now = level[t] = max(now - spec.release_db, db[t].max(), spec.floor_db)
    return db, level


@pytest.mark.parametrize("name", SPECS)
def test_equals_numpy_to_a_rounding(name):
    spec = SPECS[name]
    sound = SOUND[: 5 * RATE // 4]
    bins, level = AudioFrontEnd(spec).process(sound)
    db, expected_level = reference(spec, sound)
    np.testing.assert_allclose(level, expected_level, atol=2e-3)
    expected = np.clip((db - expected_level[:, None, None]) / spec.step_db + 127, -128, 127)
    # Half a step is the quantization; float32 adds a little where bands are quiet.
    assert np.abs(bins - expected).max() < 0.6


@pytest.mark.parametrize("name", SPECS)
def test_full_scale_sine_at_a_centre_reads_zero_db(name):
    spec = SPECS[name]
    front_end = AudioFrontEnd(spec)
    for band in range(2, spec.bands, max(1, spec.bands // 12)):
        n = 3 * max(w.length for w in spec.windows) // spec.hop * spec.hop
        if spec.centres()[band] * min(w.length for w in spec.windows) < 4 * spec.rate:
            continue  # too few periods in the shortest window to speak of a level
        sine = np.sin(2 * np.pi * spec.centres()[band] * np.arange(n) / spec.rate).astype(np.float32)
        bins, level = front_end.process(sine)
        assert np.abs(spec.decibels(bins[-1], level[-1])[band]).max() < 0.6


@pytest.mark.parametrize("lengths", [[1], [17], [159], [160], [161], [509], [44100], [1, 4096, 3, 160, 7000]])
@pytest.mark.parametrize("name", ["ivories", "odd"])
def test_blocks_of_any_size_change_no_bit(name, lengths):
    sound = SOUND[: RATE // 2] if lengths == [1] else SOUND
    front_end = AudioFrontEnd(SPECS[name])
    bins, level = front_end.process(sound)
    spectra = stream(front_end, blocks(sound, lengths, rate=SPECS[name].rate))
    assert len(spectra) == len(bins)
    assert np.array_equal([s.bins for s in spectra], bins)
    assert np.array_equal(np.array([s.level_db for s in spectra], np.float32), level)
    assert [s.frame for s in spectra] == list(range(len(bins)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 900), min_size=1, max_size=12).filter(any))
def test_any_cut_changes_no_bit(lengths):
    sound = SOUND[:8000]
    front_end = AudioFrontEnd()
    cuts, at, turn = [], 0, 0
    while at < len(sound):
        cuts.append(AudioBlock(sound[at : at + lengths[turn % len(lengths)]], RATE, at, 0))
        at += lengths[turn % len(lengths)]
        turn += 1
    spectra = stream(front_end, cuts)
    assert np.array_equal([s.bins for s in spectra], front_end.process(sound)[0])


def test_nothing_is_seen_before_it_is_heard():
    later = SOUND.copy()
    later[8000:] = noise(len(later) - 8000)
    bins, changed = (AudioFrontEnd().process(sound)[0] for sound in (SOUND, later))
    assert np.array_equal(bins[:50], changed[:50])
    assert not np.array_equal(bins[50], changed[50])


def test_times_follow_the_blocks_and_do_not_drift():
    # The source's clock runs 300 ppm slow and jitters: every hop's time comes from the block that ends it.
    front_end = AudioFrontEnd()
    jitter = np.random.default_rng(3).integers(-200_000, 200_000, 400)
    at = 0
    for turn in range(400):
        t_ns = 5 * SECOND + round(at * SECOND / 16_004.8) + int(jitter[turn])
        for spectrum in front_end.push(AudioBlock(SOUND[:441], RATE, at, t_ns)):
            end = (spectrum.frame + 1) * 160 - at
            assert 1 <= end <= 441
            assert spectrum.t_ns == t_ns + round(end * SECOND / RATE)
        at += 441


def test_short_gap_is_heard_as_silence_and_keeps_the_hops():
    holed = SOUND.copy()
    holed[5000:6000] = 0
    front_end = AudioFrontEnd()
    before = AudioBlock(SOUND[:5000], RATE, 0, 0)
    after = AudioBlock(SOUND[6000:], RATE, 6000, round(6000 * SECOND / RATE), gap=1000)
    spectra = stream(front_end, [before, after])
    assert np.array_equal([s.bins for s in spectra], front_end.process(holed)[0])
    assert [s.t_ns for s in spectra] == [(i + 1) * 10_000_000 for i in range(len(spectra))]


def test_long_gap_starts_afresh():
    front_end = AudioFrontEnd()
    start_ns = 7 * SECOND
    first = front_end.push(AudioBlock(SOUND[:5003], RATE, 0, 0))
    again = front_end.push(AudioBlock(SOUND, RATE, 112_000, start_ns, gap=106_997))
    assert first[-1].frame == 30
    assert [s.frame for s in again] == list(range(len(SOUND) // 160))
    assert again[0].t_ns == start_ns + 10_000_000
    assert np.array_equal([s.bins for s in again], front_end.process(SOUND)[0])


def test_reset_forgets():
    front_end = AudioFrontEnd()
    front_end.push(AudioBlock(noise(1234), RATE, 0, 0))
    front_end.reset()
    spectra = stream(front_end, blocks(SOUND, [700]))
    assert np.array_equal([s.bins for s in spectra], front_end.process(SOUND)[0])
    assert spectra[0].frame == 0


def test_empty_and_short_input_gives_no_spectrum():
    front_end = AudioFrontEnd()
    for n in (0, 1, 159):
        bins, level = front_end.process(np.zeros(n, np.float32))
        assert bins.shape == (0, 291, 3)
        assert level.shape == (0,)
    assert front_end.push(AudioBlock(np.zeros(0, np.float32), RATE, 0, 0)) == []
    assert front_end.push(AudioBlock(np.zeros(159, np.float32), RATE, 0, 0)) == []
    assert len(front_end.push(AudioBlock(np.zeros(1, np.float32), RATE, 159, 0))) == 1


def test_silence_rests_on_the_floor():
    bins, level = AudioFrontEnd().process(np.zeros(RATE, np.float32))
    assert np.all(level == -55)
    assert np.all(bins == round(127 + (10 * np.log10(2.0**-40) + 55) / (80 / 255)))


def test_samples_that_are_no_number_count_as_zero():
    broken, mended = SOUND.copy(), SOUND.copy()
    for at, value in enumerate([np.nan, np.inf, -np.inf, np.float32(1e-30), -np.float32(1e-42)]):
        broken[3000 + 7 * at] = value
        mended[3000 + 7 * at] = 0
    front_end = AudioFrontEnd()
    assert np.array_equal(front_end.process(broken)[0], front_end.process(mended)[0])
    assert np.isfinite(front_end.process(np.full(RATE, np.nan, np.float32))[1]).all()


def test_samples_far_too_large_are_clipped():
    front_end = AudioFrontEnd()
    _, huge = front_end.process(SOUND * np.float32(1e30))
    _, eight = front_end.process(np.clip(SOUND * np.float32(1e30), -8, 8))
    assert np.array_equal(huge, eight)
    assert huge.max() < 30


def test_level_rises_at_once_and_falls_six_db_a_second():
    sound = np.zeros(3 * RATE, np.float32)
    sound[: RATE // 2] = np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
    _, level = AudioFrontEnd().process(sound)
    assert level[40] > -1
    assert level[100] - level[200] == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize(
    ("samples", "error", "word"),
    [
        (np.zeros(160), TypeError, "float64"),
        (np.zeros(160, np.int16), TypeError, "int16"),
        ([0.0] * 160, TypeError, "list"),
        (np.zeros((160, 2), np.float32), ValueError, "mono"),
        (np.float32(0), TypeError, "float32"),
    ],
)
def test_wrong_samples_are_refused_with_a_reason(samples, error, word):
    front_end = AudioFrontEnd()
    with pytest.raises(error, match=word):
        front_end.process(samples)
    with pytest.raises(error, match=word):
        front_end.push(AudioBlock(samples, RATE, 0, 0))


def test_wrong_blocks_are_refused_with_a_reason():
    front_end = AudioFrontEnd()
    silence = np.zeros(160, np.float32)
    with pytest.raises(ValueError, match="48000 Hz"):
        front_end.push(AudioBlock(silence, 48_000, 0, 0))
    with pytest.raises(ValueError, match="-3 lost"):
        front_end.push(AudioBlock(silence, RATE, 0, 0, gap=-3))


def test_strided_and_read_only_samples_are_taken():
    front_end = AudioFrontEnd()
    wide = np.repeat(SOUND, 2)
    wide.flags.writeable = False
    assert np.array_equal(front_end.process(wide[::2])[0], front_end.process(SOUND)[0])


def test_bins_are_read_only():
    (spectrum,) = AudioFrontEnd().push(AudioBlock(SOUND[:160], RATE, 0, 0))
    with pytest.raises(ValueError, match="read-only"):
        spectrum.bins[0, 0] = 1


def test_process_leaves_the_stream_alone():
    front_end = AudioFrontEnd()
    spectra = front_end.push(AudioBlock(SOUND[:1000], RATE, 0, 0))
    front_end.process(noise(3000))
    spectra += front_end.push(AudioBlock(SOUND[1000:], RATE, 1000, 0))
    assert np.array_equal([s.bins for s in spectra], front_end.process(SOUND)[0])


def test_delay_is_what_a_click_shows():
    # The worst moment for a click is the start of a hop. Its Spectrum must be due within the stated delay.
    front_end = AudioFrontEnd()
    assert front_end.delay_ns == 14_000_000
    hop, fall = 160, 128
    base = noise(8000) * np.float32(0.01)
    for at in range(4800, 4800 + hop, 13):
        click = base.copy()
        click[at : at + 4] += 1
        bins, level = front_end.process(click)
        db = front_end.spec.decibels(bins, level)
        quiet = front_end.spec.decibels(*front_end.process(base))
        first = int(np.argmax((db - quiet)[:, 200:, 2].mean(axis=1) > 12))
        assert (first + 1) * hop - at <= hop + fall // 2


def test_other_threads_run_during_process():
    front_end = AudioFrontEnd()
    sound = np.zeros(RATE * 240, np.float32)
    running, counted = threading.Event(), [0]

    def count():
        running.set()
        while running.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    running.wait()
    before = counted[0]
    front_end.process(sound)
    during = counted[0] - before
    running.clear()
    thread.join()
    assert during >= 5  # with the interpreter lock held: 0 or 1


def test_kernel_refuses_two_threads_at_once():
    spec = FrontEndSpec()
    kernel = AudioFrontEnd(spec)._stream
    due = kernel.due(RATE * 240)
    bins, level = np.empty((due, *spec.shape), np.int8), np.empty(due, np.float32)
    thread = threading.Thread(target=kernel.push, args=(RATE * 240, bins, level))
    thread.start()
    refused = ""
    while thread.is_alive() and not refused:
        try:
            kernel.reset()
        except RuntimeError as error:
            refused = str(error)
    thread.join()
    assert "another thread" in refused
    kernel.reset()


def test_kernel_checks_its_tables():
    made = tables(FrontEndSpec())
    bands = made.bands[0]
    good = (4096, made.tapers[0], bands.start, bands.count, bands.weights)
    values = {"hop": 160, "bands": 291, "circle": made.circle, "step": 0.3, "floor": -55.0, "release": 0.06}
    native.AudioFrontEnd(windows=(good,), **values)
    wrong = [
        ((4095, *good[1:]), "power of two"),
        ((8192, *good[1:]), "circle"),
        ((2048, *good[1:]), "length"),
        ((4096, good[1][:-3], *good[2:]), "multiple of 8"),
        ((*good[:2], good[2] + 2000, *good[3:]), "outside"),
        ((*good[:2], good[2] - 2000, *good[3:]), "outside"),
        ((*good[:4], good[4][:-1]), "same bands"),
        ((*good[:3], good[3][:-1], good[4]), "same bands"),
        ((*good[:3], -good[3], good[4]), "same bands"),
    ]
    for window, word in wrong:
        with pytest.raises(ValueError, match=word):
            native.AudioFrontEnd(windows=(window,), **values)
    with pytest.raises(ValueError, match="no hop"):
        native.AudioFrontEnd(windows=(good,), **values | {"hop": 2**31 - 1})
    with pytest.raises(TypeError, match="'d'"):
        native.AudioFrontEnd(windows=((4096, good[1].astype(float), *good[2:]),), **values)
    with pytest.raises(TypeError, match="tuple"):
        native.AudioFrontEnd(windows=("no",), **values)


def test_kernel_checks_where_it_writes():
    spec = FrontEndSpec(windows=FrontEndSpec().windows[2:])
    kernel = AudioFrontEnd(spec)._stream
    sound = np.zeros(480, np.float32)
    bins, level = np.empty((3, *spec.shape), np.int8), np.empty(3, np.float32)
    assert kernel.due(480) == 3
    assert kernel.push(sound, bins, level) == 3
    for wrong_bins, wrong_level in [(bins[:2], level), (bins, level[:2])]:
        with pytest.raises(ValueError, match="exactly 3"):
            kernel.push(sound, wrong_bins, wrong_level)
    with pytest.raises(TypeError, match="bins"):
        kernel.push(sound, bins.astype(np.uint8), level)
    with pytest.raises(ValueError, match="negative"):
        kernel.push(-1, bins, level)
    with pytest.raises(ValueError, match="negative"):
        kernel.due(-1)
