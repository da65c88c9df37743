"""The strip front end: geometry, exactness against a slow reference, streaming, awkward pictures."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ivories.errors import CalibrationError
from ivories.keyboard import IS_BLACK, KEY_CENTRE, KEYS
from ivories.native import STRIP_KERNEL_REVISION
from ivories.vision.calibration import from_corners
from ivories.vision.strip import CHANNELS, FRAMES, StripFrontEnd, StripSpec, table
from keyboard_pictures import BLACK, SECOND, VGA, WHITE, block, frame, picture, play

SPEC = StripSpec()
HD = from_corners([(90, 300), (1190, 310), (1215, 440), (60, 430)], 1280, 720)
STEP = SECOND // 60


def reference_luma(made, luma):
    """The strip's luma, pixel by pixel from the table."""
    x, y = made.corner[..., 0].astype(int), made.corner[..., 1].astype(int)
    total = np.zeros(x.shape, int)
    for tap in range(16):
        total += luma[y + tap // 4, x + tap % 4].astype(int) * made.weights[..., tap]
    return (2 * total + 255) // 510  # /255, to nearest


def noise_picture(seed, calibration=VGA):
    return np.random.default_rng(seed).integers(0, 256, (calibration.height, calibration.width), np.uint8)


def random_rest(seed):
    return np.random.default_rng(seed).integers(0, 256, (SPEC.rows, SPEC.width), np.uint8)


def test_keys_stand_centred_in_their_blocks():
    strip = StripFrontEnd(SPEC, HD).rectify(picture(HD))
    y = SPEC.plane_y()
    back = strip[(y > 0.1) & (y < 0.55)]
    for key in np.flatnonzero(IS_BLACK):
        dark = block(back, key).mean(0) < (WHITE + BLACK) / 2
        middle = np.flatnonzero(dark[2:10]).mean() + 2
        assert abs(middle - 5.5) < 0.6, key
    front = strip[(y > 0.75) & (y < 0.95)]
    whites = [block(front, key)[:, 3:9].mean() for key in np.flatnonzero(~IS_BLACK)]
    assert min(whites) > WHITE - 8


def test_columns_are_symmetric_about_the_key_centre():
    x = SPEC.plane_x().reshape(KEYS, SPEC.columns)
    np.testing.assert_allclose(x.mean(1), KEY_CENTRE)
    np.testing.assert_allclose(x[:, -1] - x[:, 0], SPEC.block_width * (SPEC.columns - 1) / SPEC.columns)


@pytest.mark.parametrize("calibration", [VGA, HD], ids=["640x480", "1280x720"])
def test_luma_is_the_reference_bit_for_bit(calibration):
    luma = noise_picture(1, calibration)
    made = table(SPEC, calibration)
    np.testing.assert_array_equal(StripFrontEnd(SPEC, calibration).rectify(luma), reference_luma(made, luma))


def test_weights_sum_to_255_inside_and_are_the_bilinear_ones_where_the_picture_is_coarse():
    coarse = from_corners([(10.25, 20.5), (190.0, 20.5), (190.0, 60.0), (10.25, 60.0)], 200, 80)
    made = table(SPEC, coarse)
    sums = made.weights.sum(-1, dtype=int)
    assert set(np.unique(sums)) <= {0, 255}
    assert (np.count_nonzero(made.weights, -1) <= 4).all()
    ramp = np.tile(np.arange(200, dtype=np.uint8), (80, 1))
    expected = coarse.to_pixels(np.stack(np.broadcast_arrays(SPEC.plane_x(), SPEC.plane_y()[:, None]), -1))
    inside = sums > 0
    found = reference_luma(made, ramp)
    assert np.abs(found - expected[..., 0])[inside].max() <= 0.51


def test_strips_are_differences_of_the_last_five_frames_from_the_rest():
    # A rest image that says nothing of the light (all pixels clipped) leaves the light alone, and five frames
    # within one tick leave the rest image alone: what remains can be written down.
    front_end = StripFrontEnd(SPEC, VGA)
    rest = np.full((SPEC.rows, SPEC.width), 255, np.uint8)
    front_end.set_rest(rest)
    made = table(SPEC, VGA)
    inside = made.weights.any(-1)
    lumas = [noise_picture(seed) for seed in range(FRAMES)]
    strips, _ = play(front_end, lumas, rate=120)
    assert len(strips) == 1
    for channel, luma in enumerate(lumas):
        difference = np.clip(reference_luma(made, luma) - 255, -128, 127)
        np.testing.assert_array_equal(strips[0].pixels[..., channel], np.where(inside, difference, 0))
    newest = np.where(inside, reference_luma(made, lumas[-1]) - 128, 0)
    np.testing.assert_array_equal(strips[0].pixels[..., FRAMES], newest)


def test_light_of_one_frame_is_the_reference_fit():
    rest = picture_strip = StripFrontEnd(SPEC, VGA).rectify(picture())
    front_end = StripFrontEnd(SPEC, VGA)
    front_end.set_rest(rest)
    dimmer = picture(light=0.8, offset=5)
    front_end.push(frame(dimmer, 0))
    expected = np.round(picture_strip * 0.8 + 5)
    assert np.abs(front_end.rest.astype(int) - expected).max() <= 2


def test_stream_depends_on_the_frames_alone():
    lumas = [picture(pressed=[40] if i > 70 else [], noise=3, seed=i) for i in range(80)]
    first, _ = play(StripFrontEnd(SPEC, VGA), lumas)
    again_end = StripFrontEnd(SPEC, VGA)
    play(again_end, [noise_picture(9)] * 70)
    again_end.reset()
    again, _ = play(again_end, lumas)
    times = np.round(np.arange(80) * SECOND / 30).astype(np.int64)
    bulk = StripFrontEnd(SPEC, VGA).process(np.stack(lumas), times)
    assert len(first) == len(again) == len(bulk) > 10
    for a, b, c in zip(first, again, bulk, strict=True):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.pixels, c)


def test_rectified_luma_can_be_pushed_in_bulk():
    lumas = np.stack([noise_picture(i) for i in range(8)])
    times = np.arange(8) * STEP
    front_end, looking = StripFrontEnd(SPEC, VGA), StripFrontEnd(SPEC, VGA)
    front_end.set_rest(random_rest(1))
    expected = front_end.process(lumas, times)
    front_end.reset()
    found = front_end.process(np.stack([looking.rectify(luma) for luma in lumas]), times)
    assert len(found) == 4
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=12, deadline=None)
@given(
    pad=st.integers(0, 70),
    flipped=st.booleans(),
    size=st.tuples(st.integers(61, 333), st.integers(40, 199)),
    seed=st.integers(0, 99),
)
def test_rows_may_be_strided_and_sizes_odd(pad, flipped, size, seed):
    width, height = size
    corners = [(3, 5), (width - 4, 7), (width - 2, height - 6), (1, height - 9)]
    calibration = from_corners(corners, width, height)
    luma = noise_picture(seed, calibration)
    buffer = np.full((height, width + pad), 77, np.uint8)
    buffer[:, :width] = luma
    view = buffer[:, :width]
    if flipped:
        buffer[:, :width] = luma[::-1]
        view = buffer[::-1, :width]
    made = table(SPEC, calibration)
    front_end = StripFrontEnd(SPEC, calibration)
    front_end.set_rest(random_rest(seed))
    for i in range(FRAMES):
        strips = front_end.push(frame(view, i * STEP))
    newest = strips[0].pixels[..., FRAMES].astype(int) + 128
    inside = made.weights.any(-1)
    np.testing.assert_array_equal(newest[inside], reference_luma(made, luma)[inside])


def test_pixels_need_not_be_adjacent():
    wide = np.repeat(noise_picture(3), 2, axis=1)
    front_end = StripFrontEnd(SPEC, VGA)
    front_end.set_rest(random_rest(0))
    strips, _ = play(front_end, [wide[:, ::2]] * FRAMES)
    assert len(strips) == 1


def test_keys_outside_the_picture_are_invisible_and_zero():
    half = from_corners([(-300, 100), (320, 100), (320, 180), (-300, 180)], 320, 240)
    front_end = StripFrontEnd(SPEC, half)
    front_end.set_rest(random_rest(2))
    strips, _ = play(front_end, [noise_picture(i, half) for i in range(FRAMES)])
    visible = strips[0].visible
    middle = half.to_pixels(np.stack([KEY_CENTRE, np.full(KEYS, 0.5)], -1))[:, 0]
    assert not visible[middle < -8].any()
    assert visible[middle > 8].all()
    for key in np.flatnonzero(middle < -12):
        assert not block(strips[0].pixels, key).any()
    assert block(strips[0].pixels, 80).any()


def test_key_is_visible_from_seventy_percent_of_its_block():
    low = from_corners([(10, 70), (500, 70), (500, 135), (10, 135)], 520, 115)
    share = 1 - np.mean(low.to_pixels(np.stack([np.full(48, 26.0), SPEC.plane_y()], -1))[:, 1] > 114)
    assert 0.6 < share < 0.7
    assert not table(SPEC, low).visible.any()
    assert table(dataclasses.replace(SPEC, visible_share=share - 0.01), low).visible.all()


def test_strips_are_read_only_and_stay_valid():
    front_end = StripFrontEnd(SPEC, VGA)
    front_end.set_rest(random_rest(0))
    strips, t_ns = play(front_end, [noise_picture(i) for i in range(FRAMES)])
    kept, copy = strips[0].pixels, strips[0].pixels.copy()
    play(front_end, [noise_picture(50 + i) for i in range(9)], start_ns=t_ns)
    np.testing.assert_array_equal(kept, copy)
    with pytest.raises(ValueError, match="read-only"):
        kept[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        strips[0].visible[0] = False


def test_strip_tells_its_time_and_calibration():
    front_end = StripFrontEnd(SPEC, VGA)
    front_end.set_rest(random_rest(0))
    strips, _ = play(front_end, [noise_picture(i) for i in range(7)], start_ns=5 * SECOND, rate=50)
    assert [s.t_ns for s in strips] == [5 * SECOND + i * SECOND // 50 for i in (4, 5, 6)]
    assert {s.frame_ns for s in strips} == {SECOND // 50}
    assert {s.calibration_id for s in strips} == {VGA.id}
    assert strips[0].pixels.shape == SPEC.shape == (48, 1056, CHANNELS)
    assert front_end.delay_ns == 0


def test_fingerprint_follows_the_spec():
    assert StripSpec().fingerprint == SPEC.fingerprint == StripFrontEnd(SPEC, VGA).fingerprint
    others = [
        dataclasses.replace(SPEC, block_width=1.3),
        dataclasses.replace(SPEC, rest=dataclasses.replace(SPEC.rest, follow_s=5.0)),
    ]
    assert len({SPEC.fingerprint, *(s.fingerprint for s in others)}) == 3


def test_wrong_size_is_a_sentence():
    front_end = StripFrontEnd(SPEC, VGA)
    with pytest.raises(CalibrationError, match=r"320 x 240 pixels.*640 x 480.*ivories setup"):
        front_end.push(frame(np.zeros((240, 320), np.uint8), 0))
    with pytest.raises(CalibrationError, match="1280 x 720"):
        StripFrontEnd(SPEC, VGA, (720, 1280))
    with pytest.raises(CalibrationError, match="rest image"):
        front_end.set_rest(np.zeros((10, 10), np.uint8))
    with pytest.raises(CalibrationError, match="outside the picture"):
        StripFrontEnd(SPEC, from_corners([(900, 0), (1400, 0), (1400, 90), (900, 90)], 640, 480))


def test_clock_that_goes_back_does_no_harm():
    front_end = StripFrontEnd(SPEC, VGA)
    play(front_end, [picture()] * 70, start_ns=9 * SECOND)
    strips, _ = play(front_end, [picture()] * 40, start_ns=0)
    assert len(strips) == 40
    assert strips[0].frame_ns == 0
    assert np.abs(strips[-1].pixels[..., :FRAMES]).max() <= 1


def test_bits_are_those_of_the_kernel_revision():
    """A change of the bits must raise ``STRIP_KERNEL_REVISION`` in strip.h, and its hash stands here."""
    rng = np.random.default_rng(5)
    quiet = rng.integers(20, 236, (96, 512), np.uint8)
    calibration = from_corners([(13, 14), (498, 12), (505, 80), (6, 84)], 512, 96)
    lumas = np.stack([quiet + rng.integers(0, 4, quiet.shape, np.uint8) for _ in range(40)])
    lumas[25:, 30:70, 200:260] //= 2
    strips = StripFrontEnd(SPEC, calibration).process(lumas, np.arange(40) * (SECOND // 10))
    found = hashlib.sha256(strips.tobytes()).hexdigest()[:16]
    assert (STRIP_KERNEL_REVISION, found) == (1, "6e064f53c459ddde")
