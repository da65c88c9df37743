"""The keyboard renderer: exact, incremental, the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest

from ivories.keyboard import IS_BLACK, KEYS
from ivories.vision.strip import StripSpec
from ivories_training import _native
from ivories_training.invention import invent
from ivories_training.video.camera import Mount, place
from ivories_training.video.film import Frame, scene_calibration
from ivories_training.video.hands import random_hands
from ivories_training.video.motion import strokes_of
from ivories_training.video.render import HAND, OTHER, Renderer
from ivories_training.video.room import Room, random_room
from ivories_training.video.sensor import random_sensor
from ivories_training.video.sequences import _truly_pressed, random_sequence


def small_room(seed: int) -> Room:
    """Return a random room seen by a small camera, so that a test takes milliseconds."""
    room = random_room(np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 1)
    mount = Mount(
        320, 160, elevation=float(rng.uniform(35, 88)), azimuth=float(rng.normal(0, 15)),
        roll=float(rng.normal(0, 2)), field_of_view=60, fill=0.95, centre=(0.5, 0.5),
    )  # fmt: skip
    camera = place(mount, room.body["white_width"], room.body["white_length"])
    return replace(room, camera=camera, samples=2)


def test_every_body_field_of_the_renderer_is_drawn():
    room = random_room(np.random.default_rng(0))
    assert set(_native.BODY_FIELDS) == set(room.body)


@pytest.mark.parametrize("elevation", [30, 60, 90])
@pytest.mark.parametrize("azimuth", [0, 20, 180])
def test_calibration_agrees_with_what_is_rendered(elevation, azimuth):
    """The label under the projected front part of each white key is that key."""
    room = random_room(np.random.default_rng(3))
    mount = Mount(640, 360, elevation, azimuth, 1.0, 60, 0.7, (0.5, 0.5))
    camera = place(mount, room.body["white_width"], room.body["white_length"])
    body = room.body | {"fallboard_height": 0.0, "cheek_height": 0.0}
    room = replace(room, camera=camera, body=body)
    label = Renderer(room, samples=1).rest_label
    whites = np.flatnonzero(~IS_BLACK)
    places = np.stack([np.arange(52) + 0.5, np.full(52, 0.85)], axis=1)
    pixels = np.round(scene_calibration(room).to_pixels(places)).astype(int)
    seen = label[pixels[:, 1], pixels[:, 0]]
    assert (seen == whites).all()


def test_gaps_are_dark_where_the_keys_meet():
    """Seen at an angle too: what lies between two keys must not drift towards the ends of the keyboard."""
    room = random_room(np.random.default_rng(0))
    body = room.body | {"white_gap": 1.2}
    camera = place(
        Mount(1280, 360, 75, 0, 0, 70, 0.95, (0.5, 0.5)), body["white_width"], body["white_length"]
    )
    keys = room.keys.copy()
    keys[:, 1], keys[:, 2] = 1, 0  # alike and level
    light = Renderer(replace(room, body=body, camera=camera, keys=keys), samples=4).rest
    points = np.stack([np.arange(1, 52) * 23.5, np.full(51, body["white_length"] - 20), np.zeros(51)], axis=1)
    pixels = camera.project(points)
    off = []
    for u, v in pixels:
        row = light[round(v) - 2 : round(v) + 3, round(u) - 9 : round(u) + 10].mean(axis=0)
        dark = np.clip(np.median(row) - row, 0, None)
        dark[dark < dark.max() / 4] = 0
        off.append((dark * np.arange(-9, 10)).sum() / dark.sum() + round(u) - u)
    width = np.diff(pixels[:, 0]).mean()
    assert np.abs(np.mean(off[:10])) < 0.02 * width
    assert np.abs(np.mean(off[-10:])) < 0.02 * width


@pytest.mark.parametrize("seed", range(6))
def test_rendering_only_what_changed_misses_nothing(seed):
    """A picture made from the rest picture equals one rendered as a whole, bit for bit."""
    room = small_room(seed)
    rng = np.random.default_rng(seed)
    strokes = strokes_of(invent(seed, 8.0).notes, rng)
    at = float(strokes.onset_s[len(strokes) // 2])
    times = at + np.array([-0.01, 0.01])
    depth = np.zeros((2, KEYS), np.float32)
    depth[:, rng.choice(KEYS, 7, replace=False)] = rng.random(7, np.float32)
    dips = room.dip_mm(depth).astype(np.float32)
    hands = random_hands(room, strokes.between(at - 1, at + 1), (at - 1, at + 1), rng)
    capsules = (
        np.concatenate([h.capsules(times, dips) for h in hands], axis=1)
        if hands
        else np.zeros((2, 0, 8), np.float32)
    )
    renderer = Renderer(room, Frame(room, StripSpec()).mask)
    light, label = renderer.picture(dips, capsules)
    blank = np.zeros_like(light), np.full_like(label, OTHER)
    whole, whole_label = renderer._draw(blank, renderer._mask, dips, capsules)
    changed = np.abs(light - whole) > 1e-6 + 0.02 * whole
    assert changed.mean() < 2e-4  # grazing shadows at the very edge of a penumbra may be cut
    assert (label != whole_label).mean() < 1e-4


def test_a_pressed_key_changes_its_own_place():
    room = small_room(11)
    renderer = Renderer(room)
    depth = np.zeros((2, KEYS), np.float32)
    depth[:, 40] = 1
    light, _ = renderer.picture(room.dip_mm(depth), np.zeros((2, 0, 8), np.float32))
    v, u = np.nonzero(np.abs(light - renderer.rest) > 1e-4)
    x = scene_calibration(room).to_plane(np.stack([u, v], axis=1).astype(float))[:, 0]
    middle = room.keys[40, 0] / room.body["white_width"]
    assert len(u) > 10
    assert np.median(np.abs(x - middle)) < 1.5


def test_hands_are_labelled_and_hide_keys():
    room = small_room(2)
    renderer = Renderer(room)
    still = np.zeros((2, KEYS), np.float32)
    palm = np.array([600, 120, 40, 650, 120, 40, 25, 0.5], np.float32)
    _, label = renderer.picture(still, np.broadcast_to(palm, (2, 1, 8)))
    assert (label == HAND).sum() > 50
    assert (label[label == HAND].size) > (renderer.rest_label == HAND).sum()


def test_wrong_buffers_are_refused():
    room = small_room(1)
    renderer = Renderer(room)
    with pytest.raises(ValueError, match="dips"):
        renderer.picture(np.zeros((1, KEYS), np.float32), np.zeros((2, 0, 8), np.float32))
    with pytest.raises(ValueError, match="samples"):
        Renderer(room, samples=5)


def test_hands_may_act_without_pressing():
    """Of some hundred strokes that hands make in drawn scenes, some press nothing and most press."""
    rng = np.random.default_rng(0)
    drawn = [_truly_pressed(20, rng) for _ in range(200)]
    share = np.array([d.mean() for d in drawn])
    assert 0.1 < (share == 0).mean() < 0.3
    assert 0.4 < (share == 1).mean() < 0.75


def test_a_lamp_changes_the_light_from_its_moment_on():
    sensor = replace(
        random_sensor(np.random.default_rng(3), 0.8),
        switched=(0.5, 0.6), flicker=0.0, drift=0.0, shadow=None, read_noise=0.0, shot_noise=0.0,
    )  # fmt: skip
    grey = np.full((16, 16), 0.3, np.float32)
    rng = np.random.default_rng(0)
    before, after = (sensor.expose(grey, progress, rng).mean() for progress in (0.4, 0.5))
    assert before == sensor.expose(grey, 0.0, rng).mean()
    assert after < before


@pytest.mark.parametrize("light", [0.02, 0.4, 12.0])
def test_automatic_exposure_brings_any_light_to_its_mean(light):
    sensor = replace(random_sensor(np.random.default_rng(3), 0.8), mean_luma=0.5, highest_luma=1.0)
    keys = np.tile(np.where(np.arange(64) % 8 < 5, 0.8, 0.05), (64, 1)).astype(np.float32) * light
    exposed = sensor.set_for(keys)
    curve = exposed.curve()[np.clip(keys * exposed.exposure * 4095, 0, 4095).astype(int)] / 255
    assert abs(curve.mean() - 0.5) < 0.03


def test_automatic_exposure_that_holds_the_highlights_leaves_white_keys_their_shades():
    keys = np.full((64, 64), 0.02, np.float32)
    keys[:, :20] = 0.8  # the mean alone would ask for far more light
    sensor = replace(random_sensor(np.random.default_rng(3), 0.8), mean_luma=0.6, highest_luma=0.9)
    exposed = sensor.set_for(keys)
    assert exposed.curve()[min(4095, int(0.8 * exposed.exposure * 4095))] <= 0.92 * 255


def test_a_camera_exposed_by_hand_stays_as_it_is():
    sensor = replace(random_sensor(np.random.default_rng(3), 0.8), mean_luma=None)
    assert sensor.set_for(np.ones((8, 8), np.float32)) is sensor


def test_a_sequence_follows_from_its_seed():
    notes = invent(1, 10.0).notes
    first, second, other = (random_sequence(seed, notes, frames=6) for seed in (7, 7, 8))
    assert np.array_equal(first.luma, second.luma)
    assert np.array_equal(first.onset, second.onset)
    assert not np.array_equal(first.luma, other.luma)
    assert first.luma.shape == (6, 48, 1056)
