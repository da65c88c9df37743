"""Unusual rooms: every contrast is there, nothing moves, and what scores rest on stays as it was."""

from dataclasses import replace

import numpy as np
import pytest

from ivories_training.invention import invent
from ivories_training.video.camera import Mount, place
from ivories_training.video.clips import random_clip
from ivories_training.video.render import Renderer
from ivories_training.video.room import Room, random_room
from ivories_training.video.unusual import unusual_room

SURFACES_AND_LIGHT = {
    "white_albedo", "side_albedo", "front_albedo", "black_albedo", "gap_albedo", "fallboard_albedo",
    "felt_albedo", "slip_albedo", "cheek_albedo", "ambient", "occlusion",
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Room, Room]]:
    """Some hundred rooms as they are drawn, and what became of them."""
    rooms = [random_room(np.random.default_rng(seed)) for seed in range(300)]
    return [(room, unusual_room(room, np.random.default_rng([n, 1]))) for n, room in enumerate(rooms)]


@pytest.mark.parametrize(
    ("seed", "tops", "sides", "everything"),
    [
        (30_000, 0.803997, 0.500385, 358.9265),
        (30_001, 0.426766, 0.726765, 159.3319),
        (30_011, 0.900884, 0.463525, 159.4960),
    ],
)
def test_the_rooms_of_the_test_clips_are_those_of_all_scores_told_so_far(seed, tops, sides, everything):
    body = random_room(np.random.default_rng([seed, 0xC11B])).body
    assert body["white_albedo"] == pytest.approx(tops, abs=1e-6)
    assert body["side_albedo"] == pytest.approx(sides, abs=1e-6)
    assert sum(body.values()) == pytest.approx(everything, abs=1e-4)


def test_sides_and_gaps_are_brighter_as_bright_and_darker_than_tops(pairs):
    bodies = [room.body for _, room in pairs]
    sides = np.array([body["side_albedo"] / body["white_albedo"] for body in bodies])
    for low, high in ((0, 0.6), (0.6, 0.9), (0.9, 1.1), (1.1, 1.6), (1.6, 9)):
        assert ((sides >= low) & (sides < high)).mean() > 0.06, (low, high)
    gaps = np.array([body["gap_albedo"] / body["white_albedo"] for body in bodies])
    assert (gaps > 0.5).mean() > 0.08
    assert (gaps < 0.1).mean() > 0.15
    assert all(0 < body[name] <= 0.96 for body in bodies for name in body if name.endswith("_albedo"))


def test_only_surfaces_and_light_change(pairs):
    for before, after in pairs:
        changed = {name for name in before.body if before.body[name] != after.body[name]}
        assert changed
        assert changed <= SURFACES_AND_LIGHT
        assert np.array_equal(before.keys[:, [0, 2]], after.keys[:, [0, 2]])
        assert after.camera is before.camera
        assert after.body["ambient"] + after.lights[:, 2].sum() == pytest.approx(1, abs=1e-5)


def test_bright_sides_make_a_pressed_key_brighter_where_dark_ones_make_it_darker():
    """In even light, of a key that goes down the flanks of its neighbours come into sight."""
    room = random_room(np.random.default_rng(5))
    body = room.body | {
        "white_albedo": 0.4, "gap_albedo": 0.05, "ambient": 1.0, "occlusion": 0.0, "fallboard_height": 0.0,
        "white_gloss": 0.0, "black_gloss": 0.0,
    }  # fmt: skip
    mount = Mount(640, 240, 55, 0, 0, 60, 0.95, (0.5, 0.5))
    camera = place(mount, body["white_width"], body["white_length"])
    lights = room.lights * np.array([1, 1, 0, 1], np.float32)
    change = []
    for sides in (0.1, 0.9):
        there = replace(
            room, body=body | {"side_albedo": sides, "front_albedo": sides}, camera=camera, lights=lights
        )
        renderer = Renderer(there, samples=4)
        depth = np.zeros((4, 88), np.float32)
        depth[:, 3] = 1.0  # far from the middle: one flank is seen
        light, _ = renderer.picture(there.dip_mm(depth), np.zeros((4, 0, 8), np.float32))
        change.append(float((light - renderer.rest).sum()))
    assert change[0] < 0 < change[1]


def test_an_unusual_clip_shows_the_same_playing():
    notes = invent(3, 12.0).notes
    usual, other = (random_clip(25_000, notes, 2.6, 25.0, unusual=unusual) for unusual in (False, True))
    assert np.array_equal(usual.notes, other.notes)
    assert usual.calibration.corners() == pytest.approx(other.calibration.corners())
    rendered = usual.pictures > 0
    assert np.abs(usual.pictures.astype(int) - other.pictures)[rendered].mean() > 1
