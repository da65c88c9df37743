"""Judging the finding of the keyboard: errors, octaves, refusals, and results that are kept."""

import json

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from ivories.errors import SourceError
from ivories.vision.calibration import from_corners
from ivories.vision.homography import KEYBOARD_CORNERS
from ivories_training.cli import cli
from ivories_training.video import registration_qa as qa
from ivories_training.video.registration_cases import Case, filmed, mounted
from mounted_keyboards import View, draw

VIEW = View(elevation=62, azimuth=8)


def truth_of(view):
    return from_corners(view.to_pixels(KEYBOARD_CORNERS), view.width, view.height)


def test_refinement_brings_edges_and_keys_nearer():
    case = Case("box", [draw(VIEW, np.random.default_rng(0))], truth_of(VIEW))
    result, found = qa.judge(case)
    assert found is not None
    assert result.edges_after < result.edges_before
    assert result.centre_after < result.centre_before < 0.5
    assert result.centre_after < qa.NEAR
    assert result.octaves_off == 0
    assert qa.is_good(result)
    assert "reg_refined: box: edges" in qa.line(result)


def test_an_octave_is_told_from_an_error_of_place():
    corners = np.array(KEYBOARD_CORNERS, float)
    truth = truth_of(VIEW)
    off = from_corners(VIEW.to_pixels(corners - np.array([7.0, 0.0])), 640, 480)
    octaves, error = qa.centre_error(off, truth)
    assert octaves == 1
    assert error < 0.01
    near = from_corners(VIEW.to_pixels(corners + np.array([0.2, 0.0])), 640, 480)
    assert qa.centre_error(near, truth) == (0, pytest.approx(0.2, abs=0.01))


def test_a_plain_scaling_fits_only_a_camera_straight_above():
    above = from_corners([(20, 200), (620, 200), (620, 260), (20, 260)], 640, 480)
    assert qa.scaling_error(above) < 1e-6
    turned = View(elevation=62, roll=4)
    assert qa.scaling_error(truth_of(turned)) > 0.3


def test_no_keyboard_is_a_refusal_and_counts_as_one():
    result, found = qa.judge(Case("dark", [np.zeros((480, 640), np.uint8)], truth_of(VIEW)))
    assert found is None
    assert "too dark" in result.refused
    assert not qa.is_good(result)
    assert "1 positions: 0 found, 1 refused" in qa.summary([result])


def test_rendered_mounts_are_reported_and_measured_once(tmp_path):
    arguments = ["registration-qa", "--mounts", "2", "--frames", "2", "--cache", str(tmp_path / "cache.json")]
    first = CliRunner().invoke(cli, arguments)
    assert first.exit_code == 0, first.output
    assert first.output.count("reg_refined:") == 2
    assert "2 positions: 2 found, 0 refused, octave wrong in 0" in first.output
    kept = json.loads((tmp_path / "cache.json").read_text())
    for result in kept.values():
        result["quality"] = 0.123
    (tmp_path / "cache.json").write_text(json.dumps(kept))
    second = CliRunner().invoke(cli, arguments)
    assert second.output.count("quality 0.12") == 2, "the second run takes what the first one kept"


@pytest.mark.parametrize(
    "seed",
    [
        10798,  # seen from low: the gaps that run to the back tell how the keys converge
        10516,  # gaps between the white keys hardly show, and what resembles them lies elsewhere
        10648,  # nearly dark
        10804,  # half of the black keys mirror a window and are as bright as the white ones
    ],
)
def test_hard_mounts_have_every_key_in_its_place(seed):
    result, found = qa.judge(mounted(seed, 3))
    assert found is not None
    assert qa.is_good(result)
    assert result.octave_sure


def test_a_clip_with_its_truth(tmp_path):
    rng = np.random.default_rng(1)
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.options = {"crf": "20"}
        for _ in range(6):
            picture = np.repeat(draw(VIEW, rng)[..., None], 3, axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    corners = dict(
        zip(("A0_back", "C8_back", "C8_front", "A0_front"), truth_of(VIEW).corners().tolist(), strict=True)
    )
    beside = tmp_path / "clip_registration.json"
    beside.write_text(json.dumps({"corners_px": corners}))
    case = filmed(tmp_path / "clip.mp4", 3)
    assert len(case.pictures) == 3
    assert qa.judge(case)[0].centre_after < qa.NEAR
    beside.write_text("{}")
    with pytest.raises(SourceError, match="corners_px"):
        filmed(tmp_path / "clip.mp4", 3)


def test_a_wrong_position_is_drawn(tmp_path, monkeypatch):
    elsewhere = truth_of(View(elevation=62, centre=(0.52, 0.5)))
    wrong = Case("box", [draw(VIEW, np.random.default_rng(0))], elsewhere)
    monkeypatch.setattr(qa, "mounted", lambda seed, pictures: wrong)
    (result,) = qa.check(range(1), [], 1, None, tmp_path)
    assert not qa.is_good(result)
    assert (tmp_path / "box.png").stat().st_size > 1000
