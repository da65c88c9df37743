"""The measurement of the eye itself: scripted evidence in, known scores, cells and pictures out."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

pytest.importorskip("scipy")

from ivories.clock import SECOND
from ivories.errors import SinkError
from ivories.inference.manifest import Channel, Manifest, load_manifest, save_manifest
from ivories.keyboard import IS_BLACK, KEYS, LOWEST_PITCH
from ivories.notes import NOTE_DTYPE
from ivories.report import DECIDED_DTYPE
from ivories.vision.calibration import from_corners
from ivories.vision.strip import StripSpec
from ivories_training.performances import NOTE
from ivories_training.video import evaluate as judge
from ivories_training.video.cells import ALL, NETWORK, SETTLED, alone, count, light, pooled
from ivories_training.video.clips import Clip, Idle
from ivories_training.video.overlay import FALSE, MISSED, RIGHT, OverlayVideo, drawn, key_outline
from support import FRAME_NS, video_evidence

MODELS = Path(__file__).parents[2] / "models"
WIDTH, HEIGHT = 640, 120
WHITE, BLACK = 39, 40  # C4 and its sharp
THRESHOLDS = (0.0, 0.0, 0.0, 0.0)
SECONDS = 4


def clip(notes, luma=128, covered=None, name="made"):
    """Film ``notes`` (key, onset_s, offset_s, velocity) on a grey keyboard that fills the picture."""
    frames = round(SECONDS * SECOND / FRAME_NS)
    t_ns = np.arange(frames) * FRAME_NS
    pressed = np.zeros((frames, KEYS), bool)
    for key, on, off, _ in notes:
        pressed[(t_ns >= on * SECOND) & (t_ns < off * SECOND), key] = True
    truth = np.array(sorted((on, off, k + LOWEST_PITCH, v) for k, on, off, v in notes), NOTE_DTYPE)
    corners = [(10, 10), (WIDTH - 10, 10), (WIDTH - 10, HEIGHT - 10), (10, HEIGHT - 10)]
    pictures = np.full((frames, HEIGHT, WIDTH), luma, np.uint8)
    return Clip(name, from_corners(corners, WIDTH, HEIGHT), t_ns, pictures, truth, pressed, luma, covered)


def seen(notes, frames, visible=None):
    """Return the evidence of an eye that sees ``notes``, (key, onset_s, offset_s, velocity)."""
    times = [(k, round(on * SECOND), round(off * SECOND)) for k, on, off, _ in notes]
    return [video_evidence(f, times, strength=9.0, visible=visible) for f in range(frames)]


PLAYED = [(WHITE, 1.0, 1.5, 60), (BLACK, 2.0, 2.5, 110), (WHITE, 3.0, 3.5, 70)]


def scores_of(made, evidence):
    told = judge.told(evidence, THRESHOLDS)
    return judge.score(made, told.notes, count(made, evidence, told.down))


def test_a_good_eye_scores_one_and_is_told_early() -> None:
    made = clip(PLAYED)
    evidence = seen(PLAYED, len(made.t_ns))
    scored = scores_of(made, evidence)
    assert (scored.notes, scored.found, scored.f1_100ms, scored.network_frame_f1) == (3, 3, 1.0, 1.0)
    assert 0.95 < scored.frame_f1 < 1.0  # a frame early is a frame in which nothing was pressed yet
    assert scored.frame_rate == pytest.approx(30, abs=0.1)
    assert scored.detection_ms < 0  # the eye predicts by a frame
    assert scored.detection_soft_ms <= scored.detection_p95_ms
    assert scored.false_per_10_s == 0


def test_cells_are_counted_by_colour_visibility_and_light() -> None:
    covered = np.zeros((round(SECONDS * SECOND / FRAME_NS), KEYS))
    covered[:, BLACK] = 0.5
    covered[:, 0] = 1.0
    made = clip(PLAYED, covered=covered)
    visible = np.ones(KEYS, bool)
    visible[BLACK] = False
    evidence = seen([*PLAYED, (50, 1.0, 1.5, 60)], len(made.t_ns), visible)
    found = {s.kind: s for s in pooled([count(made, evidence, alone(evidence))] * 2)}
    held = int(made.pressed[:, WHITE].sum())
    assert found[ALL].cells == 2 * made.pressed.size
    assert found[ALL].pressed == 2 * int(made.pressed.sum())
    white, black = found["white keys"], found["black keys"]
    assert white.cells + black.cells == found[ALL].cells
    assert IS_BLACK[50] == IS_BLACK[WHITE]
    assert (white.recall, white.precision) == (1.0, pytest.approx(held / (held + 15), abs=0.01))
    assert (black.recall, black.f1) == (0.0, 0.0)  # hidden: nothing is told of it
    assert np.isnan(black.precision)
    assert found["judged hidden"].pressed == found["partly covered"].pressed == black.pressed
    assert found["covered or outside"].cells == 2 * len(made.t_ns)
    assert found["medium light"].cells == found[ALL].cells
    assert found[NETWORK].f1 == found[ALL].f1
    edges = 2 * 2 * 4 * len(PLAYED)  # two clips; two frames on both sides of both ends
    assert found[ALL].cells - found[SETTLED].cells == edges
    wrong = 1 - found[ALL].accuracy
    assert wrong == pytest.approx((black.pressed + 2 * 15) / found[ALL].cells, rel=0.1)


def test_what_counts_is_what_the_device_remembers_not_what_a_frame_says() -> None:
    held = [(WHITE, 1.0, 3.0, 60)]
    made = clip(held)
    hidden = np.ones(KEYS, bool)
    hidden[WHITE] = False
    evidence = seen(held, 120)
    evidence[60:71] = seen(held, 71, hidden)[60:]
    told = judge.told(evidence, THRESHOLDS)
    scored = judge.score(made, told.notes, count(made, evidence, told.down))
    assert told.down.shape == (120, KEYS)
    assert scored.network_frame_f1 < 0.95, "a frame in which a hand lies over the key knows nothing of it"
    assert scored.frame_f1 > 0.98
    # as it stood at the moment: nothing is pressed before the note was decided
    decided = told.notes["decided_s"][0]
    assert not told.down[made.t_ns < (decided - 1e-6) * SECOND].any()


def test_light_is_that_of_the_white_keys() -> None:
    assert [light(clip([], luma)) for luma in (30, 120, 220)] == ["dim light", "medium light", "bright light"]
    dark_room = clip([], 20)
    dark_room.pictures[:, HEIGHT // 2 :] = 200
    assert light(dark_room) == "bright light"


def told(*rows):
    """Notes as told: (key, onset_s, offset_s, decided_s) each."""
    return np.array([(on, off, k + LOWEST_PITCH, 64, at) for k, on, off, at in rows], DECIDED_DTYPE)


def test_the_overlay_shows_right_false_and_missed() -> None:
    made = clip([(WHITE, 1.0, 2.0, 60), (20, 1.0, 2.0, 60)])
    pictures = dict(drawn(made, told((WHITE, 1.0, 2.0, 1.2), (60, 1.0, 2.0, 1.0)), "made"))

    def colour(key, second):
        at = min(pictures, key=lambda t: abs(t - second * SECOND))
        x, y = key_outline(made, key).mean(0).astype(int)
        return int(np.argmax(pictures[at][y, x])) if np.ptp(pictures[at][y, x]) > 20 else None

    blue, green, red = (int(np.argmax(c)) for c in (MISSED, RIGHT, FALSE))
    assert (colour(WHITE, 1.1), colour(WHITE, 1.6)) == (blue, green)  # not yet decided, then right
    assert (colour(20, 1.6), colour(60, 1.6), colour(70, 1.6)) == (blue, red, None)
    assert colour(WHITE, 2.5) is None


def test_the_overlay_is_a_film_of_all_clips(tmp_path: Path) -> None:
    first, second = clip(PLAYED), clip(PLAYED, name="second")
    film = OverlayVideo(tmp_path / "new" / "out.mp4")
    film.add(first, told(), "first")
    film.add(second, told(), "second")
    film.close()
    with av.open(str(tmp_path / "new" / "out.mp4")) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert len(times) == 2 * len(first.t_ns)
    steps = np.diff(times)
    assert np.delete(steps, len(first.t_ns) - 1) == pytest.approx(1 / 30, abs=0.002)
    assert steps[len(first.t_ns) - 1] == pytest.approx(0.5, abs=0.01)
    with pytest.raises(SinkError, match="cannot write the overlay video"):
        OverlayVideo(tmp_path / "new" / "out.mp4" / "inside.mp4")


def test_scores_are_kept_by_material(tmp_path: Path) -> None:
    shutil.copy(MODELS / "audio.tflite", tmp_path / "video.tflite")
    path = tmp_path / "video.toml"
    save_manifest(
        Manifest(
            name="video",
            kind="video",
            file="video.tflite",
            sha256="",
            frontend="",
            input="strip",
            channels=[],
        ),
        path,
    )
    made = clip(PLAYED)
    evidence = seen(PLAYED, len(made.t_ns))
    scores = [scores_of(made, evidence)]
    judge.write_scores(path, "rendered", "balanced", scores)
    nobody = clip([])
    idle = {Idle.ACTING: [scores_of(nobody, evidence)]}
    judge.write_scores(path, "filmed", "balanced", scores, idle)
    kept = load_manifest(path).scores
    assert kept["rendered/balanced/f1_100ms"] == kept["filmed/balanced/f1_100ms"] == 1.0
    assert kept["hands only act/balanced/false_per_10_s"] == pytest.approx(
        10 * 3 / (SECONDS - 1 / 30), abs=0.01
    )
    card = (tmp_path / "README.md").read_text()
    assert card.count("| rendered | balanced | 1.000 |") == card.count("| filmed | balanced | 1.000 |") == 1


@pytest.mark.parametrize("idle", list(Idle))
def test_an_idle_clip_has_hands_and_a_lamp_but_no_keys_that_move(idle: Idle) -> None:
    from ivories_training.invention import invent
    from ivories_training.video.clips import QUIET_S, random_clip

    notes = invent(3, 12.0).notes
    made = random_clip(40_003, notes, 3.2, 25.0, idle=idle)
    assert len(made.notes) == 0
    assert not made.pressed.any()
    level = made.pictures.reshape(len(made.pictures), -1).mean(1)
    quiet = level[made.t_ns < (QUIET_S - 0.3) * SECOND]
    assert np.ptp(quiet) < 0.06 * quiet.mean()
    assert np.abs(level / quiet.mean() - 1).max() > 0.1  # the lamp


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory) -> Path:
    """A network that has learnt nothing, as an int8 file with a manifest."""
    keras = pytest.importorskip("keras")
    pytest.importorskip("tensorflow")
    from ivories_training import export
    from ivories_training.quantize import observe
    from ivories_training.video.network import NetworkConfig, VideoNetwork

    keras.mixed_precision.set_global_policy("float32")
    network = VideoNetwork(NetworkConfig(stem=8, shape=8, parts=8, width=16))
    spec = StripSpec()
    batch = np.random.default_rng(0).normal(0, 1, (2, spec.rows, spec.columns * KEYS, 6)).astype(np.float32)
    observe(network.model(), [batch])
    network.constant.freeze()
    path = tmp_path_factory.mktemp("model") / "video.tflite"
    export.write_int8(network.model(batch=1), path)
    names = [name.partition("@") for name in network.config.channels]
    manifest = Manifest(
        name="video",
        kind="video",
        file=path.name,
        sha256=export.sha256(path),
        frontend=spec.fingerprint,
        input="strip",
        channels=[Channel(kind=kind, horizon=int(horizon or 0)) for kind, _, horizon in names],
        thresholds={"balanced": [2.0] * sum(kind == "onset" for kind, _, _ in names)},
    )
    save_manifest(manifest, path.with_suffix(".toml"))
    return path.with_suffix(".toml")


def test_a_clip_is_filmed_as_the_device_would_have_its_camera_expose() -> None:
    from ivories_training.video.film import Film, scene_calibration
    from ivories_training.video.held_exposure import HeldExposure
    from ivories_training.video.motion import strokes_of
    from ivories_training.video.room import random_room
    from ivories_training.video.sensor import random_sensor

    def filmed(brighter, held):
        rng = np.random.default_rng(8)
        room = random_room(rng)
        sensor = random_sensor(rng, room.body["white_albedo"])
        sensor = replace(sensor, exposure=brighter * sensor.exposure, shadow=None)
        strokes = strokes_of(np.zeros(0, NOTE), rng)
        times = np.arange(12) / 30
        film = Film(room, sensor, strokes, times, 0.01, [], rng, spec=StripSpec())
        device = HeldExposure(film, scene_calibration(room), 8)
        pictures = list(device.exposures(times) if held else film.exposures())
        return device.stops, np.stack(pictures)

    stops, corrected = filmed(8.0, True)
    assert -5 <= stops[-1] < -0.5
    _, dazzled = filmed(8.0, False)
    assert (dazzled >= 250).mean() > 2 * (corrected >= 250).mean()
    stops, corrected = filmed(0.5, True)
    assert stops == []
    np.testing.assert_array_equal(corrected, filmed(0.5, False)[1])


def test_the_command_scores_rendered_clips(tiny_model: Path, tmp_path: Path) -> None:
    from ivories_training.cli import cli

    command = [
        "evaluate", "video", "--model", str(tiny_model), "--clips", "1", "--clip-seconds", "3",
        "--silent", "1",
        "--overlay", str(tmp_path / "o.mp4"), "--json", str(tmp_path / "o.json"), "--write",
    ]  # fmt: skip
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "render_30000" in done.output
    content = json.loads((tmp_path / "o.json").read_text())
    kinds = {row["kind"] for row in content["cells"]}
    assert {"all", "white keys", "black keys", "free keys"} <= kinds
    assert content["clips"][0]["notes"] > 0
    assert [len(content["nobody_presses"][kind]) for kind in Idle] == [1, 1]
    assert "where nobody presses" in done.output
    assert "with the cameras left alone: F1 50" in done.output
    assert content["cameras_left_alone"]["clips"][0]["name"] == "render_30000"
    assert "rendered, cameras left alone/balanced/f1_100ms" in load_manifest(tiny_model).scores
    assert "rendered/balanced/f1_100ms" in load_manifest(tiny_model).scores
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 50
    wrong = CliRunner().invoke(cli, ["evaluate", "video", "--model", str(tiny_model), "--policy", "boldest"])
    assert "knows balanced" in str(wrong.exception)


def test_there_is_one_word_order() -> None:
    from ivories_training.cli import cli

    assert CliRunner().invoke(cli, ["audio", "evaluate"]).exit_code == 2
    assert CliRunner().invoke(cli, ["video", "evaluate"]).exit_code == 2
    shown = CliRunner().invoke(cli, ["evaluate", "--help"]).output
    assert "audio" in shown
    assert "video" in shown
