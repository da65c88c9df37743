"""Random instruments and rooms: everything of a scene that does not move."""

from dataclasses import dataclass

import numpy as np

from ivories.keyboard import IS_BLACK, KEY_CENTRE, KEYS
from ivories_training._native import BODY_FIELDS
from ivories_training.video.camera import Camera, Float32, place, random_mount


@dataclass(frozen=True, slots=True)
class Room:
    body: dict[str, float]
    """the instrument, its surfaces, the diffuse light; the renderer's names, in millimetres and albedos"""
    keys: Float32
    """(88, 3) centre mm, albedo factor, level mm"""
    lights: Float32
    """(m, 4) lean x, lean y, strength, penumbra"""
    camera: Camera
    white_dip: float
    """full travel at the front, mm"""
    black_dip: float
    samples: int
    """rays per pixel"""

    def body_array(self) -> Float32:
        """Return the body as the renderer takes it."""
        return np.array([self.body[name] for name in BODY_FIELDS], np.float32)

    def dip_mm(self, depth: Float32) -> Float32:
        """Return (..., 88) travel in mm at the front of each key for ``depth`` 0..1."""
        return np.where(IS_BLACK, np.float32(self.black_dip), np.float32(self.white_dip)) * depth

    def height(self, x: Float32, y: Float32, dip: Float32) -> Float32:
        """Return the surface under points (T, n) at dips (T, 88) mm: where a fingertip would rest."""
        body = self.body
        black_reach = (
            np.abs(x[..., None] - self.keys[IS_BLACK, 0]) < body["black_width"] / 2 + 1.0
        )  # (T, n, 36)
        on_black = black_reach.any(-1) & (y < body["black_length"])
        black = np.flatnonzero(IS_BLACK)[black_reach.argmax(-1)]
        whites = np.flatnonzero(~IS_BLACK)
        white = whites[np.clip((x / body["white_width"]).astype(int), 0, len(whites) - 1)]
        row = np.arange(len(dip))[:, None]
        low = -dip[row, white] * (y - body["white_pivot"]) / (body["white_length"] - body["white_pivot"])
        high = body["black_height"] - dip[row, black] * (y - body["black_pivot"]) / (
            body["black_length"] - body["black_pivot"]
        )
        return np.where(on_black, high, np.where(y < body["white_length"], low, -15.0)).astype(np.float32)


def random_room(rng: np.random.Generator) -> Room:
    """Draw an instrument, its light and a camera."""
    body = _instrument(rng)
    large = rng.random() < 0.04
    width, height = (1280, 720) if large else (640, 480)
    camera = place(random_mount(rng, width, height), body["white_width"], body["white_length"])
    if camera.eye[1] < 0:  # seen from the far side, a high fallboard would hide the keys
        clearance = (80.0 - camera.eye[1]) / camera.eye[2]
        body["fallboard_height"] = min(body["fallboard_height"], 12.0 / max(clearance, 0.2))
    lights = _light(rng, body)
    keys = np.zeros((KEYS, 3), np.float32)
    spread = rng.uniform(0.85, 1.1)
    whole = np.round(KEY_CENTRE)
    centre = np.where(IS_BLACK, whole + (KEY_CENTRE - whole) * spread, KEY_CENTRE)
    keys[:, 0] = centre * body["white_width"]
    keys[:, 1] = 1 + rng.normal(0, rng.uniform(0, 0.03), KEYS)
    keys[:, 2] = rng.normal(0, rng.uniform(0, 0.25), KEYS)
    return Room(
        body,
        keys,
        lights,
        camera,
        white_dip=float(rng.uniform(8.5, 11)),
        black_dip=float(rng.uniform(7, 10)),
        samples=1 if large else int(rng.choice([1, 2, 3, 4], p=[0.5, 0.35, 0.1, 0.05])),
    )


def _instrument(rng: np.random.Generator) -> dict[str, float]:
    white = float(rng.uniform(0.62, 0.95))
    black_length = float(rng.uniform(90, 100))
    digital = rng.random() < 0.4
    fallboard = rng.choice([0.0, rng.uniform(2, 15), rng.uniform(20, 90)], p=[0.2, 0.4, 0.4])
    body = {
        "white_width": 23.5,
        "white_length": 150.0 * float(rng.uniform(0.96, 1.03)),
        "white_gap": float(rng.uniform(0.5, 1.8)),
        "white_pivot": float(rng.uniform(-30, 0) if digital else rng.uniform(-110, -40)),
        "white_albedo": white,
        "front_albedo": white * float(rng.uniform(0.6, 1.05)),
        "black_width": float(rng.uniform(9.2, 13.5)),
        "black_length": black_length,
        "black_height": float(rng.uniform(9, 13)),
        "black_bevel": float(rng.choice([0.0, rng.uniform(0.5, 2.2)])),
        "black_slope": float(rng.uniform(1, 9)),
        "black_pivot": float(rng.uniform(-30, 0) if digital else rng.uniform(-110, -40)),
        "black_albedo": float(rng.uniform(0.015, 0.11)),
        "black_gap": float(rng.uniform(0.6, 2.0)),
        "gap_depth": float(rng.uniform(13, 20)),
        "gap_albedo": float(rng.uniform(0.02, 0.3)),
        "side_albedo": white * float(rng.uniform(0.4, 1.0)),
        "fallboard_height": float(fallboard),
        "fallboard_albedo": float(rng.choice([rng.uniform(0.01, 0.06), rng.uniform(0.06, 0.6)])),
        "felt_depth": float(rng.choice([0.0, rng.uniform(1, 7)])),
        "felt_albedo": float(rng.uniform(0.03, 0.4)),
        "slip_gap": float(rng.uniform(0.5, 6)),
        "slip_height": float(rng.choice([-20.0, rng.uniform(-15, -3), rng.uniform(-3, 4)])),
        "slip_width": float(rng.uniform(10, 60)),
        "slip_albedo": float(rng.choice([rng.uniform(0.01, 0.08), rng.uniform(0.08, 0.7)])),
        "cheek_height": float(rng.uniform(0, 11)),
        "cheek_width": float(rng.uniform(5, 75)),
        "cheek_albedo": float(rng.choice([rng.uniform(0.01, 0.08), rng.uniform(0.08, 0.7)])),
        "body_back": float(-rng.uniform(30, 250)),
        "floor_albedo": float(rng.uniform(0.02, 0.5)),
        "floor_contrast": float(rng.choice([1.0, rng.uniform(0.3, 2.0)])),
    }
    if rng.random() < 0.06:  # some electronic keyboards have dark naturals or brown ones
        body["white_albedo"] *= float(rng.uniform(0.3, 0.7))
    glossy = rng.random() < 0.6
    body["white_gloss"] = float(rng.uniform(0.1, 0.9)) if glossy else float(rng.uniform(0, 0.1))
    body["black_gloss"] = float(rng.uniform(0.1, 0.8)) if rng.random() < 0.6 else 0.02
    return body


def _light(rng: np.random.Generator, body: dict[str, float]) -> Float32:
    count = int(rng.choice([1, 2, 3], p=[0.55, 0.33, 0.12]))
    lights = np.zeros((count, 4), np.float32)
    for light in lights:
        elevation, azimuth = np.radians(rng.uniform(30, 88)), rng.uniform(0, 2 * np.pi)
        lean = 1 / np.tan(elevation)
        spread = rng.choice([rng.uniform(0.01, 0.05), rng.uniform(0.05, 0.4)])
        light[:] = (lean * np.cos(azimuth), lean * np.sin(azimuth), rng.uniform(0.3, 1), spread)
    ambient = float(rng.uniform(0.12, 1.8))
    total = ambient + float(lights[:, 2].sum())
    lights[:, 2] /= total
    body["ambient"] = ambient / total
    body["occlusion"] = float(rng.uniform(0.03, 0.5))
    body["sky"] = float(rng.uniform(0, 0.6))
    body["window_x"] = float(rng.normal(0, 0.8))
    body["window_y"] = float(rng.normal(-0.3, 0.8))
    body["window_half_x"] = float(rng.uniform(0.05, 0.6))
    body["window_half_y"] = float(rng.uniform(0.05, 0.6))
    body["window_light"] = float(rng.choice([0.0, rng.uniform(0.3, 3)]))
    return lights
