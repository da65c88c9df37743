"""Pictures of keyboards under random cameras: boxes in perspective, with wood, light, hands, lens and noise.

Millimetres; x from the left side of A0 to the right, y from the fallboard towards the player, z up from the
tops of the white keys.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from ivories.keyboard import IS_BLACK, KEY_CENTRE, KEYS
from ivories.vision import homography as plane

WIDTH_MM, LENGTH_MM = 23.5, 150.0
_FINE = 3  # drawn so many times larger, then averaged


@dataclass(frozen=True)
class View:
    """One camera before one keyboard; angles in degrees."""

    width: int = 640
    height: int = 480
    elevation: float = 70.0
    azimuth: float = 0.0  # 180: from the far side
    roll: float = 0.0
    field_of_view: float = 60.0
    fill: float = 0.9  # of the picture's width
    centre: tuple = (0.5, 0.5)
    k1: float = 0.0
    lowest: int = 0
    highest: int = KEYS - 1
    instrument: dict = field(default_factory=dict)

    def camera(self):
        """Return (3, 4) millimetres -> ideal pixels, and the (3,) place of the eye."""
        span = WIDTH_MM * 52
        target = np.array([span / 2, LENGTH_MM / 2, 0.0])
        focal = self.width / 2 / np.tan(np.radians(self.field_of_view) / 2)
        elevation, azimuth, roll = np.radians([self.elevation, self.azimuth, self.roll])
        away, up = np.array([np.sin(azimuth), np.cos(azimuth), 0.0]), np.array([0, 0, 1.0])
        to_eye = np.cos(elevation) * away + np.sin(elevation) * up
        eye = target + to_eye * focal * span / (self.fill * self.width)
        up = up * np.cos(elevation) - away * np.sin(elevation)
        right = -np.cross(up, to_eye)  # y points at the player, so the room is left-handed
        right, up = np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right
        rotation = np.stack([right, -up, -to_eye])
        middle = np.array(self.centre) * (self.width, self.height)
        intrinsic = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1.0]])
        return intrinsic @ np.concatenate([rotation, -(rotation @ eye)[:, None]], 1), eye

    def to_pixels(self, points):
        """Return where the lens shows keyboard-plane ``points``."""
        matrix = self.camera()[0][:, [0, 1, 3]] @ np.diag([WIDTH_MM, LENGTH_MM, 1.0])
        return plane.distort(plane.apply(matrix, points), self.k1, self.width, self.height)

    def all_visible(self, margin=3.0):
        """Say whether the whole outline is in the picture."""
        x = np.linspace(0, 52, 27)
        outline = np.concatenate([np.stack([x, np.full(27, y)], 1) for y in (0.0, 1.0)])
        pixels = self.to_pixels(outline)
        return bool(((pixels > margin) & (pixels < np.array([self.width, self.height]) - margin)).all())


def random_instrument(rng):
    """Draw brightnesses (0..255) and sizes (mm) as pianos and digital keyboards have them."""
    return {
        "white": rng.uniform(150, 245),
        "black": rng.uniform(8, 45),
        "gap": rng.uniform(15, 110),
        "gap_mm": rng.uniform(0.6, 1.5),
        "front": rng.uniform(0.55, 1.0),
        "case": rng.choice([rng.uniform(5, 40), rng.uniform(40, 200)]),
        "cheek": rng.choice([rng.uniform(5, 40), rng.uniform(40, 200)]),
        "floor": rng.uniform(10, 160),
        "felt": rng.uniform(10, 90),
        "felt_mm": rng.choice([0.0, rng.uniform(1, 5)]),
        "black_half": rng.uniform(0.22, 0.3) * WIDTH_MM,
        "black_length": rng.uniform(0.61, 0.66) * LENGTH_MM,
        "black_height": rng.uniform(9, 13),
        "spread": rng.uniform(0.7, 1.1),
    }


def random_view(rng, *, rolled=False, width=640, height=480, **fixed):
    """Draw a mount with all keys in the picture; ``rolled``: turned by any angle."""
    while True:
        style = rng.choice(["over", "player", "tilted", "far"], p=[0.3, 0.35, 0.2, 0.15])
        elevation, azimuth, roll = {
            "over": (rng.uniform(70, 90), rng.choice([0, 180]) + rng.normal(0, 5), rng.normal(0, 3)),
            "player": (rng.uniform(35, 75), rng.normal(0, 8), rng.normal(0, 3)),
            "tilted": (rng.uniform(40, 80), rng.uniform(-30, 30), rng.normal(0, 8)),
            "far": (rng.uniform(45, 80), 180 + rng.normal(0, 12), rng.normal(0, 4)),
        }[str(style)]
        settings = {
            "elevation": elevation,
            "azimuth": azimuth,
            "roll": rng.uniform(-180, 180) if rolled else roll,
            "field_of_view": rng.uniform(42, 78),
            "fill": rng.uniform(0.75, 0.97),
            "centre": (0.5 + rng.normal(0, 0.02), rng.uniform(0.35, 0.65)),
            "instrument": random_instrument(rng),
        }
        view = View(width, height, **{**settings, **fixed})
        if view.all_visible():
            return view


def draw(view, rng, *, noise=2.0, blur=0.5, light=1.0, hands=0, shade=0.3):
    """Return the (H, W) uint8 picture of ``view``.

    Args:
        view: camera and keyboard.
        rng: for noise, hands and light.
        noise: standard deviation of the pixels, levels.
        blur: standard deviation of the optics, pixels.
        light: exposure, 1 = well lit.
        hands: how many hands lie over the keys.
        shade: depth of uneven light, 0..1.
    """
    kind = {**random_instrument(np.random.default_rng(7)), **view.instrument}
    projection, eye = view.camera()
    canvas = np.full((view.height * _FINE, view.width * _FINE), kind["floor"], np.float32)

    def fill(points, value):
        p = np.asarray(points, float) @ projection[:, :3].T + projection[:, 3]
        pixels = ((p[:, :2] / p[:, 2:] + 0.5) * _FINE - 0.5).astype(np.float32)
        hull = np.round(cv2.convexHull(pixels) * 16).astype(np.int32)
        cv2.fillConvexPoly(canvas, hull, float(value), lineType=cv2.LINE_8, shift=4)

    def flat(x0, x1, y0, y1, z, value):
        fill([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], value)

    has = range(view.lowest, view.highest + 1)
    whites = [(KEY_CENTRE[key] - 0.5) * WIDTH_MM for key in has if not IS_BLACK[key]]
    left, right = whites[0], whites[-1] + WIDTH_MM
    flat(left - 60, right + 60, -120, LENGTH_MM + 40, -20, kind["cheek"])
    flat(left - 1, right + 1, LENGTH_MM, LENGTH_MM + 40, -20, kind["case"])
    flat(left - 60, right + 60, -120, 0, 0, kind["case"])
    flat(left, right, -kind["felt_mm"], 1, 0, kind["felt"])
    if eye[1] > LENGTH_MM:
        fill([(x, LENGTH_MM, z) for x in (left, right) for z in (-20, 0)], kind["white"] * kind["front"])
    flat(left, right, 0, LENGTH_MM, 0, kind["gap"])
    gap = kind["gap_mm"] / 2
    for x in whites:
        flat(x + gap, x + WIDTH_MM - gap, 0, LENGTH_MM - 0.5, 0, kind["white"] * rng.normal(1, 0.02))
    blacks = [key for key in has if IS_BLACK[key]]
    for key in sorted(blacks, key=lambda k: -abs(KEY_CENTRE[k] * WIDTH_MM - eye[0])):
        whole = round(KEY_CENTRE[key])
        x = (whole + (KEY_CENTRE[key] - whole) * kind["spread"]) * WIDTH_MM
        half, front, top = kind["black_half"], kind["black_length"], kind["black_height"]
        base = [(x + s * half, y, 0) for s in (-1, 1) for y in (0, front)]
        roof = [(x + s * half * 0.85, y, top) for s in (-1, 1) for y in (0, front - 5)]
        fill(base + roof, kind["black"] * 0.7)
        fill(roof, kind["black"])
    for _ in range(hands):
        _draw_hand(fill, rng)
    picture = cv2.resize(canvas, (view.width, view.height), interpolation=cv2.INTER_AREA)
    picture *= light * (1 - shade * _uneven(view, rng))
    if view.k1:
        picture = _through_lens(view, picture)
    if blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture += rng.normal(0, noise, picture.shape)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _draw_hand(fill, rng):
    x, y, skin = rng.uniform(100, 1100), rng.uniform(60, 140), rng.uniform(60, 190)
    fill([(x + 45 * np.cos(a), y + 75 + 45 * np.sin(a), 40) for a in np.linspace(0, 6.28, 16)], skin)
    fill([(x + s * 30, yy, zz) for s in (-1, 1) for yy, zz in ((y + 80, 40), (400, 60))], skin * 0.8)
    for finger in range(5):
        fx, tip = x + (finger - 2) * 20, y + rng.uniform(-25, 10)
        outline = [(fx + s * 7, yy, zz) for s in (-1, 1) for yy, zz in ((tip, 12), (y + 60, 40))]
        fill(outline, skin * rng.uniform(0.85, 1.1))


def _uneven(view, rng):
    small = rng.uniform(0, 1, (3, 4)).astype(np.float32)
    return cv2.resize(small, (view.width, view.height), interpolation=cv2.INTER_CUBIC).clip(0, 1)


def _through_lens(view, picture):
    step = 8  # the map is smooth: every eighth pixel is enough
    x, y = np.arange(0, view.width + step, step), np.arange(0, view.height + step, step)
    coarse = plane.undistort(np.stack(np.meshgrid(x, y), -1), view.k1, view.width, view.height)
    at_x, at_y = np.meshgrid(np.arange(view.width) / step, np.arange(view.height) / step)
    at_x, at_y = at_x.astype(np.float32), at_y.astype(np.float32)
    fine = [cv2.remap(coarse[..., i].astype(np.float32), at_x, at_y, cv2.INTER_LINEAR) for i in (0, 1)]
    return cv2.remap(picture, *fine, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
