"""The model stages: int8 logits to calibrated evidence, streams, context, resets."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ivories.clock import SECOND
from ivories.datatypes import Origin, RectifiedStrip, Spectrum
from ivories.errors import ModelError
from ivories.inference.audio_model import AudioModel
from ivories.inference.base import Tensor
from ivories.inference.litert import LiteRtRuntime, plain_name
from ivories.inference.manifest import Channel, Manifest, Stream
from ivories.inference.scripted import ScriptedRuntime
from ivories.inference.video_model import VideoModel

DATA = Path(__file__).parents[1] / "data"
CHANNELS = [
    Channel(kind="onset", horizon=4, temperature=2.0, bias=0.5, prior=-3.0),
    Channel(kind="frame", prior=-1.0),
    Channel(kind="onset", horizon=2),
    Channel(kind="offset"),
    Channel(kind="velocity", prior=5.0),
    Channel(kind="visible"),
]
AUDIO = Manifest(
    name="tiny",
    kind="audio",
    file="tiny_audio.tflite",
    sha256="",
    frontend="",
    input="spectrum",
    context=3,
    channels=CHANNELS,
    pedal=Channel(kind="frame", bias=1.0),
    streams=[Stream(input="past", output="state", delays=[1, 3])],
)
VIDEO = msgspec.structs.replace(
    AUDIO, kind="video", input="strip", context=1, pedal=None, streams=[], file="tiny_video.tflite"
)
SPECTRUM = Tensor("spectrum", (1, 3, 6, 2), 1.0, 0)
PAST = Tensor("past", (1, 1, 88, 4), 0.5, 3)
STATE = Tensor("state", (1, 1, 88, 2), 0.5, 3)
STRIP = Tensor("strip", (1, 4, 8, 6), 1.0, 0)
KEYS = Tensor("keys", (1, 1, 88, 6), 0.25, -4)
PEDAL = Tensor("pedal", (1, 1), 0.5, 10)


def spectrum(frame, value=0, shape=(6, 2)):
    return Spectrum(np.full(shape, value, np.int8), frame, 10_000_000 * (frame + 1), -20.0)


def strip(t_ns, frame_ns=40_000_000, visible=None, calibration_id="a"):
    seen = np.ones(88, bool) if visible is None else visible
    return RectifiedStrip(np.zeros((4, 8, 6), np.int8), t_ns, frame_ns, calibration_id, seen)


def hearing(script=()):
    return ScriptedRuntime([SPECTRUM, PAST], [KEYS, STATE, PEDAL], script)


def test_channels_become_calibrated_evidence_in_order_of_horizon():
    keys = np.zeros((1, 1, 88, 6), np.int8)
    keys[0, 0, 40] = [16, -20, 36, 0, -4, 0]  # logits 5, -4, 10, 1, 0, 1
    model = AudioModel(hearing([{"keys": keys, "pedal": np.array([[14]], np.int8)}]), AUDIO)
    (evidence,) = model.push(spectrum(0))
    assert evidence.origin is Origin.AUDIO
    assert evidence.t_ns == 10_000_000
    assert evidence.horizon_ns == (20_000_000, 40_000_000)
    assert evidence.onset.shape == (2, 88)
    assert evidence.onset[0, 40] == 10.0
    assert evidence.onset[1, 40] == (5.0 + 0.5) / 2 + 3.0
    assert evidence.frame[40] == -4.0 + 1.0
    assert evidence.offset is not None
    assert evidence.offset[40] == 1.0
    assert evidence.velocity[40] == 0.5
    assert evidence.pedal == 3.0
    assert evidence.visible.all()
    assert model.delay_ns == 40_000_000


def test_evidence_arrays_are_read_only_and_not_overwritten_by_the_next_step():
    model = AudioModel(hearing(lambda step, _: {"keys": np.full((1, 1, 88, 6), 10 * step, np.int8)}), AUDIO)
    (first,) = model.push(spectrum(0))
    before = first.onset.copy()
    model.push(spectrum(1))
    assert np.array_equal(first.onset, before)
    for array in (first.onset, first.frame, first.offset, first.velocity, first.visible):
        assert not array.flags.writeable


def test_streams_bring_back_outputs_of_the_right_age():
    seen = []

    def script(step, inputs):
        seen.append((inputs["past"][0, 0, 5].copy(), inputs["spectrum"][0, :, 0, 0].copy()))
        return {"state": np.full((1, 1, 88, 2), 10 + step, np.int8)}

    model = AudioModel(hearing(script), AUDIO)
    for frame in range(5):
        model.push(spectrum(frame, frame))
    past, context = zip(*seen, strict=True)
    rest = STATE.zero_point
    # Columns: delay 1 twice, delay 3 twice.
    assert [p.tolist() for p in past] == [
        [rest, rest, rest, rest],
        [10, 10, rest, rest],
        [11, 11, rest, rest],
        [12, 12, 10, 10],
        [13, 13, 11, 11],
    ]
    assert [c.tolist() for c in context] == [[-128, -128, 0], [-128, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


@pytest.mark.parametrize("next_frame", [0, 7])
def test_a_gap_begins_afresh(next_frame):
    seen = []

    def script(step, inputs):
        seen.append((inputs["past"].copy(), inputs["spectrum"][0, :, 0, 0].tolist()))
        return {"state": np.full((1, 1, 88, 2), 50, np.int8)}

    model = AudioModel(hearing(script), AUDIO)
    for frame in (0, 1, 2, next_frame):
        model.push(spectrum(frame, 9))
    assert (seen[2][0] == 50).any()
    assert (seen[3][0] == STATE.zero_point).all()
    assert seen[3][1] == [-128, -128, 9]


def test_what_the_camera_cannot_see_says_nothing():
    keys = np.full((1, 1, 88, 6), 40, np.int8)
    keys[0, 0, 10, 5] = -128  # the network calls key 10 covered
    outside = np.ones(88, bool)
    outside[80:] = False
    model = VideoModel(ScriptedRuntime([STRIP], [KEYS], [{"keys": keys}]), VIDEO)
    (evidence,) = model.push(strip(0, visible=outside))
    hidden = [10, *range(80, 88)]
    assert np.flatnonzero(~evidence.visible).tolist() == hidden
    assert not evidence.onset[:, hidden].any()
    assert not evidence.frame[hidden].any()
    assert np.isnan(evidence.velocity[hidden]).all()
    assert (evidence.frame[11:80] == 12.0).all()
    assert evidence.pedal is None


def test_video_horizons_follow_the_true_frame_times():
    channels = [Channel(kind="onset", horizon=h) for h in (-1, 0, 1, 2)]
    manifest = msgspec.structs.replace(VIDEO, channels=channels)
    keys = Tensor("keys", (1, 1, 88, 4), 0.25, 0)
    model = VideoModel(ScriptedRuntime([STRIP], [keys]), manifest)
    times = [0, 40, 70, 130]
    steps = [40, 40, 30, 60]
    ages = [
        model.push(strip(t * 10**6, step * 10**6))[0].horizon_ns for t, step in zip(times, steps, strict=True)
    ]
    assert [age // 10**6 for age in ages[0]] == [-40, 0, 40, 80]
    assert [age // 10**6 for age in ages[3]] == [-60, 0, 60, 90]
    assert model.delay_ns == 120_000_000


def test_a_camera_that_was_away_tells_nothing_of_the_time_between():
    """Else an onset expected within the next frame would lie as far ahead as the camera was away."""
    channels = [Channel(kind="onset", horizon=h) for h in (-1, 0, 1, 2)]
    manifest = msgspec.structs.replace(VIDEO, channels=channels)
    model = VideoModel(ScriptedRuntime([STRIP], [Tensor("keys", (1, 1, 88, 4), 0.25, 0)]), manifest)
    frame = 40 * 10**6
    for n in range(4):
        model.push(strip(n * frame, frame))
    back = 4 * frame + 3 * SECOND
    # Four strips still show, of their five pictures, some from before.
    told = [model.push(strip(back + n * frame, frame if n else 3 * SECOND)) for n in range(6)]
    assert [len(some) for some in told] == [0, 0, 0, 0, 1, 1]
    for (evidence,) in told[4:]:
        assert evidence.horizon_ns == (-frame, 0, frame, 2 * frame)
        assert evidence.step_ns == frame


@pytest.mark.parametrize("seen", range(1, 6))
def test_a_camera_that_goes_again_as_soon_as_it_is_back_tells_nothing_of_it_either(seen):
    model = VideoModel(ScriptedRuntime([STRIP], [KEYS]), VIDEO)
    frame, away = 40 * 10**6, 3 * SECOND
    steps = [frame] * 4 + ([away] + [frame] * (seen - 1)) * 2 + [away] + [frame] * 5
    times = np.cumsum(steps).tolist()
    told = [model.push(strip(t, step)) for t, step in zip(times, steps, strict=True)]
    assert [len(some) for some in told[-6:]] == [0, 0, 0, 0, 1, 1]
    assert {evidence.step_ns for some in told for evidence in some} == {frame}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "video"}, "not an audio model"),
        ({"channels": CHANNELS[:4]}, "4 channels"),
        ({"channels": [*CHANNELS[:4], CHANNELS[1], CHANNELS[5]]}, "more than one"),
        ({"channels": [CHANNELS[0], *CHANNELS[:5]]}, "horizon of its own"),
        ({"thresholds": {"balanced": [1.0]}}, "1 thresholds for 'balanced': it needs one for each"),
        ({"context": 5}, "manifest says"),
        ({"input": "waveform"}, "disagree about the inputs"),
        ({"streams": []}, "disagree about the inputs"),
        ({"streams": [Stream(input="past", output="stat", delays=[1, 3])]}, "no stream"),
        ({"streams": [Stream(input="past", output="state", delays=[0, 3])]}, "start at 1"),
        ({"streams": [Stream(input="past", output="state", delays=[1])]}, "must fit into it"),
        ({"channels": [*CHANNELS[:5], Channel(kind="visible", temperature=0.0)]}, "above 0"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(change, words):
    with pytest.raises(ModelError, match=words):
        AudioModel(hearing(), msgspec.structs.replace(AUDIO, **change))


def test_streams_need_one_quantization_at_both_ends():
    runtime = ScriptedRuntime([SPECTRUM, replace(PAST, scale=0.51)], [KEYS, STATE, PEDAL])
    with pytest.raises(ModelError, match="one range for both"):
        AudioModel(runtime, AUDIO)


def test_bins_of_another_front_end_are_refused():
    with pytest.raises(ModelError, match="does not fit"):
        AudioModel(hearing(), AUDIO).push(spectrum(0, shape=(7, 2)))
    with pytest.raises(ModelError, match="does not fit"):
        VideoModel(ScriptedRuntime([replace(STRIP, shape=(1, 4, 9, 6))], [KEYS]), VIDEO).push(strip(0))


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("serving_default_spectrum:0", "spectrum"),
        ("spectrum", "spectrum"),
        ("model/head/keys:0", "keys"),
        ("serving_default_past_1:0", "past_1"),
        ("PartitionedCall:1", "PartitionedCall"),
    ],
)
def test_plain_names(tensor, name):
    assert plain_name(tensor) == name


def test_a_true_network_streams_the_same_after_a_reset():
    rng = np.random.default_rng(3)
    bins = rng.integers(-128, 128, (12, 291, 3), np.int8)
    model = AudioModel(LiteRtRuntime(DATA / "tiny_audio.tflite"), AUDIO)
    runs = []
    for _ in range(2):
        model.reset()
        runs.append([model.push(Spectrum(b, frame, frame, -20.0))[0].onset for frame, b in enumerate(bins)])
    assert np.array_equal(runs[0], runs[1])
    assert np.ptp(runs[0][-1]) > 1.0
    # The stream reaches the output: the last hop judged without its past reads otherwise.
    model.reset()
    alone = model.push(Spectrum(bins[-1], 0, 0, -20.0))[0].onset
    assert not np.array_equal(alone, runs[0][-1])


def test_a_network_that_is_not_int8_is_refused():
    with pytest.raises(ModelError, match="not int8"):
        LiteRtRuntime(DATA / "tiny_float.tflite")


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_a_file_that_is_no_network_is_refused(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.tflite"):
        LiteRtRuntime(path)
