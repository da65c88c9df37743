"""Instruments and light that few rooms have: every contrast by which a press may show.

``random_room`` draws what most keyboards look like: light tops, darker sides, a dark gap where a key goes
down. On other instruments the same press shows bright flanks, or next to nothing. Training sees all of them;
where things are, and how they move, stays as the room has it.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from ivories_training.video.camera import Float32
from ivories_training.video.room import Room

SHARE: Final = 0.4
"""Of the training sequences"""
_TOPS: Final = ((0.55, 0.95), (0.22, 0.55), (0.06, 0.22))
"""Albedos of light, darkened and black naturals"""
_SHINES_MOST: Final = 0.95
"""The brightest albedo"""


def generator(seed: int) -> np.random.Generator:
    """Return what draws the unusual of scene ``seed``, apart: all else of it stays as it would be without."""
    return np.random.default_rng([seed, 0x0DD])


def unusual_room(room: Room, rng: np.random.Generator) -> Room:
    """Return ``room`` with other surfaces, other light, or both; ``rng`` draws them."""
    body, keys, lights = dict(room.body), room.keys, room.lights
    which = rng.choice(["surfaces", "light", "both"], p=[0.35, 0.2, 0.45])
    if which != "light":
        body |= _surfaces(body["black_albedo"], rng)
        keys = keys.copy()
        keys[:, 1] = 1 + rng.normal(0, rng.uniform(0, 0.1), len(keys))  # some are stained or replaced
    if which != "surfaces":
        changed, lights = _light(room, rng)
        body |= changed
    return replace(room, body=body, keys=keys, lights=lights)


def _surfaces(sharps: float, rng: np.random.Generator) -> dict[str, float]:
    """Draw albedos of keys, gaps and the wood around them; ``sharps``: what most instruments have."""
    tone = int(rng.choice(3, p=[0.6, 0.28, 0.12]))
    tops = float(rng.uniform(*_TOPS[tone]))
    sides = _times(tops, 0.3, 2.5, rng)
    fronts = sides * float(rng.uniform(0.8, 1.2)) if rng.random() < 0.5 else _times(tops, 0.3, 2.5, rng)
    if tone == 0 and rng.random() < 0.3:
        sharps = float(rng.uniform(0.11, 0.45))
    elif tone == 2 and rng.random() < 0.6:  # the colours of a harpsichord
        sharps = float(rng.uniform(0.3, 0.9))
    return {
        "white_albedo": tops,
        "side_albedo": sides,
        "front_albedo": min(fronts, _SHINES_MOST),
        "black_albedo": sharps,
        "gap_albedo": _times(tops, 0.03, 1.2, rng),
        "fallboard_albedo": float(rng.uniform(0.01, 0.9)),
        "felt_albedo": float(rng.uniform(0.03, 0.8)),
        "slip_albedo": float(rng.uniform(0.01, 0.9)),
        "cheek_albedo": float(rng.uniform(0.01, 0.9)),
    }


def _times(albedo: float, least: float, most: float, rng: np.random.Generator) -> float:
    """Return ``albedo`` times ``least`` to ``most``, as often halved as doubled."""
    return min(albedo * float(np.exp(rng.uniform(np.log(least), np.log(most)))), _SHINES_MOST)


def _light(room: Room, rng: np.random.Generator) -> tuple[dict[str, float], Float32]:
    """Draw how much light comes from everywhere, where the rest comes from, and how dark corners are."""
    lights = room.lights.copy()
    kind = rng.choice(["diffuse", "beside the camera", "hard", "as it is"], p=[0.35, 0.2, 0.2, 0.25])
    ambient, corners = room.body["ambient"], float(rng.uniform(0, 0.8))
    if kind == "diffuse":  # hardly a shadow, not even where keys meet
        ambient, corners = float(rng.uniform(0.8, 1.0)), float(rng.uniform(0, 0.12))
    elif kind == "beside the camera":  # which therefore sees no shadow of what stands out
        camera = room.camera.eye - np.array([room.keys[:, 0].mean(), room.body["white_length"] / 2, 0.0])
        lights = lights[:1]
        lights[0, :2] = np.clip(camera[:2] / camera[2] + rng.normal(0, 0.1, 2), -1.8, 1.8)
        ambient = float(rng.uniform(0.1, 0.7))
    elif kind == "hard":
        ambient = float(rng.uniform(0.03, 0.2))
        lights[:, 3] = rng.uniform(0.005, 0.04, len(lights))
    lights[:, 2] *= (1 - ambient) / lights[:, 2].sum()
    return {"ambient": ambient, "occlusion": corners}, lights
