"""Pictures of a flat keyboard for the video tests, with hands, lamps and presses."""

import numpy as np

from ivories.datatypes import VideoFrame
from ivories.keyboard import IS_BLACK, KEY_CENTRE
from ivories.vision.calibration import from_corners

WHITE, BLACK, GAP, ROOM = 190, 30, 90, 60
VGA = from_corners([(45.5, 202.1), (597.0, 207.4), (609.7, 273.2), (30.0, 265.1)], 640, 480)
SECOND = 1_000_000_000


def plane_picture(x, y, pressed=()):
    """Luma at keyboard-plane points; pressed keys darken their gaps and shade the keys beside them."""
    luma = np.where((x >= 0) & (x <= 52) & (y >= 0) & (y <= 1), WHITE, ROOM).astype(float)
    on_keys = luma == WHITE
    luma[on_keys & (np.abs(x - np.round(x)) < 0.04)] = GAP
    for key in pressed:
        near = np.abs(x - KEY_CENTRE[key]) < 0.5
        luma[on_keys & near] *= 0.8
    for key in np.flatnonzero(IS_BLACK):
        luma[on_keys & (np.abs(x - KEY_CENTRE[key]) < 0.29) & (y < 0.64)] = BLACK
    return luma


def picture(calibration=VGA, pressed=(), *, light=1.0, offset=0.0, hand=None, noise=0.0, seed=0):
    """(H, W) uint8. ``hand``: (x0, x1, y0, y1) of a grey patch; ``light``: a number or a function of x."""
    column, row = np.meshgrid(np.arange(calibration.width), np.arange(calibration.height))
    plane = calibration.to_plane(np.stack([column, row], -1))
    x, y = plane[..., 0], plane[..., 1]
    luma = plane_picture(x, y, pressed)
    if hand is not None:
        x0, x1, y0, y1 = hand
        luma[(x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)] = 130
    luma = luma * (light(x) if callable(light) else light) + offset
    if noise:
        luma += np.random.default_rng(seed).normal(0, noise, luma.shape)
    return np.clip(np.round(luma), 0, 255).astype(np.uint8)


def frame(luma, t_ns, sequence=0):
    return VideoFrame(luma, t_ns, 0, sequence)


def play(front_end, pictures, *, start_ns=0, rate=30):
    """Push ``pictures`` at ``rate`` per second; return the strips and the time after the last frame."""
    strips = []
    for i, luma in enumerate(pictures):
        strips += front_end.push(frame(luma, start_ns + round(i * SECOND / rate), i))
    return strips, start_ns + round(len(pictures) * SECOND / rate)


def block(array, key, columns=12):
    return array[:, key * columns : (key + 1) * columns]
