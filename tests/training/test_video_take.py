"""The bundled demo take: playable by two hands, sound and pictures in step with its truth."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

import ivories
from ivories.notes import read_notes
from ivories_training.performances import read_midi
from ivories_training.video.take import piece, write_midi

FOLDER = Path(ivories.__file__).parent / "data"


@pytest.fixture(scope="module")
def sound():
    with av.open(str(FOLDER / "take.mp4")) as container:
        rate = container.streams.audio[0].rate
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
    return np.concatenate(parts).astype(float) / 32768, rate


@pytest.fixture(scope="module")
def pictures():
    with av.open(str(FOLDER / "take.mp4")) as container:
        stream = container.streams.video[0]
        return [
            (float(f.pts * stream.time_base), f.to_ndarray(format="gray8")) for f in container.decode(stream)
        ]


def test_hands_have_five_fingers_each():
    left, right, _ = piece()
    for hand in (left, right):
        for note in hand:
            down = (hand["onset_s"] <= note["onset_s"]) & (hand["offset_s"] > note["onset_s"])
            assert down.sum() <= 5
    both = np.concatenate([left, right])
    assert both["velocity"].min() < 35
    assert both["velocity"].max() > 105


def test_the_midi_file_is_the_piece_itself(tmp_path):
    left, right, pedal = piece()
    write_midi(np.concatenate([left, right]), pedal, tmp_path / "take.mid")
    assert (tmp_path / "take.mid").read_bytes() == (FOLDER / "take.mid").read_bytes()
    read = read_midi(FOLDER / "take.mid")
    wanted = np.sort(np.concatenate([left, right])["onset_s"])
    assert np.allclose(np.sort(read.notes["onset_s"]), wanted, atol=1e-4)
    assert len(read.pedal) == len(pedal)


def test_sound_begins_with_the_first_note(sound):
    samples, rate = sound
    first = read_notes(FOLDER / "take.mid")["onset_s"].min()
    heard = np.argmax(np.abs(samples) > 3e-4) / rate
    assert first <= heard < first + 0.010  # a soft hammer takes milliseconds to be heard


def test_pictures_are_still_until_the_hands_come(pictures):
    times = [t for t, _ in pictures]
    assert np.allclose(np.diff(times), 1 / 30, atol=1e-3)
    assert times[0] == 0
    still = np.stack([p for t, p in pictures if t < 1.6]).astype(int)
    assert np.abs(still - still[0]).mean() < 2
    playing = next(p for t, p in pictures if t > 6).astype(int)
    assert (np.abs(playing - still[0]) > 40).mean() > 0.005


def test_truth_names_the_keyboards_corners(pictures):
    truth = json.loads((FOLDER / "take.json").read_text())
    height, width = pictures[0][1].shape
    assert (truth["width"], truth["height"]) == (width, height)
    corners = np.array(list(truth["corners_px"].values()))
    assert (corners > 0).all()
    assert (corners < (width, height)).all()


def test_the_take_is_small():
    assert sum(p.stat().st_size for p in FOLDER.glob("take.*")) < 3_000_000
