import numpy as np
import pytest

from ivories.audio.resample import Resampler
from ivories.clock import SECOND
from ivories.datatypes import AudioBlock
from ivories.errors import ConfigError
from signals import noise

RATES = (48_000, 44_100, 96_000, 22_050, 8_000, 11_025)


def run(rate, sound, lengths, start=0):
    resampler = Resampler(rate, 16_000)
    out, at, turn = [], 0, 0
    while at < len(sound):
        part = sound[at : at + lengths[turn % len(lengths)]]
        out += resampler.push(AudioBlock(part, rate, start + at, round((start + at) * SECOND / rate)))
        at += len(part)
        turn += 1
    return out


def joined(blocks):
    return np.concatenate([block.samples for block in blocks])


def sine(rate, hertz, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", RATES)
def test_sine_stays_in_place(rate):
    out = joined(run(rate, sine(rate, 440), [480]))
    expected = np.sin(2 * np.pi * 440 * np.arange(len(out)) / 16_000)
    assert np.abs(out - expected)[200:].max() < 1e-4


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lengths", [[1], [17], [480], [1, 509, 2], [44_100]])
def test_blocks_of_any_size_change_no_bit(rate, lengths):
    sound = noise(6000)
    assert np.array_equal(joined(run(rate, sound, lengths)), joined(run(rate, sound, [6000])))


@pytest.mark.parametrize("rate", RATES)
def test_samples_and_times_are_counted_without_gaps_or_drift(rate):
    start = 3 * rate
    due = start * 16_000 // rate
    for block in run(rate, noise(rate // 4), [441, 7], start=start):
        assert block.rate == 16_000
        assert block.first_sample == due
        assert block.gap == 0
        assert abs(block.t_ns - due * SECOND / 16_000) <= 1
        due += len(block.samples)


def test_passes_what_the_bands_need_and_stops_what_would_fold_into_them():
    def gain_db(hertz):
        out = joined(run(48_000, sine(48_000, hertz), [480]))[1000:6000].astype(float)
        turn = 2 * np.pi * hertz * np.arange(1000, 6000) / 16_000
        basis = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        amplitude = np.linalg.lstsq(basis, out, rcond=None)[0] if hertz < 8000 else [out.std() * 2**0.5]
        return 20 * np.log10(np.linalg.norm(amplitude) + 1e-10)

    for hertz in (30, 1000, 5000, 7200):
        assert gain_db(hertz) == pytest.approx(0, abs=0.01)
    for hertz in (8700, 9000, 12_000, 16_000, 23_000):
        assert gain_db(hertz) < -75


@pytest.mark.parametrize("rate", RATES)
def test_delay_is_the_wait_for_the_newest_output(rate):
    resampler = Resampler(rate, 16_000)
    heard = made = 0
    waits = []
    for turn in range(300):
        heard += 100
        out = resampler.push(AudioBlock(np.zeros(100, np.float32), rate, heard - 100, 0))
        made += sum(len(block.samples) for block in out)
        if turn >= 10:  # before that the filter is not full
            waits.append(heard / rate - made / 16_000)
    period = 1 / 16_000
    assert resampler.delay_ns / SECOND - period <= min(waits)
    assert max(waits) <= resampler.delay_ns / SECOND + 1e-9
    assert resampler.delay_ns < 4_000_000


def test_equal_rates_hand_blocks_through():
    resampler = Resampler(16_000, 16_000)
    block = AudioBlock(noise(100), 16_000, 5, 6, gap=7)
    assert resampler.push(block) == [block]
    assert resampler.delay_ns == 0


@pytest.mark.parametrize("lost", [1, 2, 100, 48_001])
def test_gap_is_counted_and_nothing_from_before_it_leaks(lost):
    resampler = Resampler(48_000, 16_000)
    (before,) = resampler.push(AudioBlock(np.ones(4801, np.float32), 48_000, 0, 0))
    first = 4801 + lost
    blocks = []
    for at in range(0, 4800, 50):
        block = AudioBlock(
            np.zeros(50, np.float32), 48_000, first + at, round((first + at) * SECOND / 48_000),
            gap=lost if at == 0 else 0,
        )  # fmt: skip
        blocks += resampler.push(block)
    assert not joined(blocks).any()
    assert blocks[0].first_sample == -(-first // 3)
    assert blocks[0].gap == blocks[0].first_sample - len(before.samples)
    assert blocks[0].t_ns == pytest.approx(blocks[0].first_sample * SECOND / 16_000, abs=2)
    assert not any(block.gap for block in blocks[1:])


def test_reset_forgets():
    resampler = Resampler(48_000, 16_000)
    resampler.push(AudioBlock(noise(999), 48_000, 0, 0))
    resampler.reset()
    (again,) = resampler.push(AudioBlock(noise(3000), 48_000, 0, 0))
    assert np.array_equal(again.samples, joined(run(48_000, noise(3000), [3000])))
    assert again.first_sample == 0


def test_wrong_rates_are_refused_with_a_reason():
    with pytest.raises(ConfigError, match="above 0"):
        Resampler(0, 16_000)
    with pytest.raises(ConfigError, match="common rate"):
        Resampler(44_101, 16_000)
    with pytest.raises(ValueError, match="44100 Hz"):
        Resampler(48_000, 16_000).push(AudioBlock(noise(10), 44_100, 0, 0))
