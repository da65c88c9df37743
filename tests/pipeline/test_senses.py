"""From a source to evidence, through the true front ends and a tiny int8 network each."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from ivories.audio.spec import FrontEndSpec
from ivories.audio_path import AudioPath
from ivories.datatypes import AudioBlock, Origin, VideoFrame
from ivories.inference.litert import LiteRtRuntime
from ivories.inference.manifest import Channel, Manifest, Stream
from ivories.keyboard import KEY_CENTRE
from ivories.runtime.timing import StageTimes
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.synthetic import SyntheticPictures, SyntheticSound
from ivories.video_path import VideoPath
from ivories.vision.calibration import from_corners
from ivories.vision.homography import KEYBOARD_CORNERS
from ivories.vision.strip import StripFrontEnd, StripSpec
from mounted_keyboards import View, draw

DATA = Path(__file__).parents[1] / "data"
SECONDS = 2.0
CHANNELS = [
    *(Channel(kind="onset", horizon=horizon) for horizon in (2, 5, 9)),
    Channel(kind="frame"),
    Channel(kind="offset"),
    Channel(kind="velocity"),
]
HEARING = Manifest(
    name="tiny",
    kind="audio",
    file="tiny_audio.tflite",
    sha256="",
    frontend="",
    input="spectrum",
    context=3,
    channels=CHANNELS,
    pedal=Channel(kind="frame"),
    streams=[Stream(input="past", output="state", delays=[1, 3])],
)
SEEING = Manifest(
    name="tiny",
    kind="video",
    file="tiny_video.tflite",
    sha256="",
    frontend="",
    input="strip",
    channels=CHANNELS,
)


def hear(source):
    path = AudioPath(source.rate, LiteRtRuntime(DATA / HEARING.file), HEARING, FrontEndSpec(), StageTimes())
    return [evidence for block in source for evidence in path.push(block)]


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """The synthetic take as 16-bit files of several kinds."""
    folder = tmp_path_factory.mktemp("take")
    samples = np.concatenate([block.samples for block in SyntheticSound(seed=3, seconds=SECONDS)])
    whole = np.round(samples * 32768).astype(np.int16)
    soundfile.write(folder / "take.wav", whole, 16_000)
    soundfile.write(folder / "take.flac", whole, 16_000)
    soundfile.write(folder / "stereo.wav", np.stack([whole, whole], 1), 16_000)
    with av.open(str(folder / "take.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(whole[np.newaxis], "s16", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


def test_the_same_sound_is_heard_the_same_whatever_it_came_in(take):
    wav = hear(SoundFileSource(take / "take.wav"))
    assert len(wav) == pytest.approx(SECONDS * 100, abs=30)
    assert all(evidence.origin is Origin.AUDIO for evidence in wav)
    assert np.ptp([evidence.onset for evidence in wav]) > 1
    for other in ("take.flac", "stereo.wav", "take.mkv"):
        heard = hear(SoundFileSource(take / other))
        assert [evidence.t_ns for evidence in heard] == [evidence.t_ns for evidence in wav]
        assert all(np.array_equal(a.onset, b.onset) for a, b in zip(wav, heard, strict=True))


@pytest.mark.parametrize("block_ms", [1.0, 3.7, 250.0])
def test_the_size_of_the_blocks_changes_nothing(take, block_ms):
    wav = hear(SoundFileSource(take / "take.wav"))
    cut = hear(SoundFileSource(take / "take.wav", block_ms=block_ms))
    assert [evidence.t_ns for evidence in cut] == [evidence.t_ns for evidence in wav]
    assert all(np.array_equal(a.frame, b.frame) for a, b in zip(wav, cut, strict=True))


def test_pictures_become_evidence_at_their_own_times():
    source = SyntheticPictures(seed=3, seconds=SECONDS, fps=25)
    calibration = from_corners(source.corners, source.width, source.height)
    frames = list(source)
    rest = StripFrontEnd(StripSpec(), calibration).rectify(frames[0].luma)
    runtime = LiteRtRuntime(DATA / SEEING.file)
    path = VideoPath(runtime, SEEING, StripSpec(), StageTimes(), calibration.with_rest(rest))
    evidence = [e for frame in frames for e in path.push(frame)]
    assert len(evidence) > len(frames) / 2
    assert {e.t_ns for e in evidence} <= {frame.t_ns for frame in frames}
    assert all(e.origin is Origin.VIDEO and e.step_ns == 40_000_000 for e in evidence)
    assert evidence[-1].visible.all()
    assert np.ptp([e.onset for e in evidence]) > 0


def test_a_muted_microphone_gives_evidence_of_no_weight():
    path = AudioPath(16_000, LiteRtRuntime(DATA / HEARING.file), HEARING, FrontEndSpec(), StageTimes())
    samples = np.random.default_rng(0).normal(0, 0.01, 4 * 16_000).astype(np.float32)
    samples[16_000:48_000] = 0
    weights = {}
    for first in range(0, len(samples), 160):
        block = AudioBlock(samples[first : first + 160], 16_000, first, first * 62_500)
        weights |= {e.t_ns // 10_000_000: e.weight for e in path.push(block)}
    hops = np.array(list(weights))
    by_hop = np.array(list(weights.values()))
    assert (by_hop[hops < 195] == 1).all()
    assert (by_hop[(hops > 205) & (hops < 300)] == 0).all()
    assert (by_hop[hops > 301] == 1).all()


def test_a_camera_in_the_dark_gives_evidence_of_no_weight():
    source = SyntheticPictures(seed=3, seconds=SECONDS, fps=25)
    calibration = from_corners(source.corners, source.width, source.height)
    frames = list(source)
    rest = StripFrontEnd(StripSpec(), calibration).rectify(frames[0].luma)
    path = VideoPath(
        LiteRtRuntime(DATA / SEEING.file), SEEING, StripSpec(), StageTimes(), calibration.with_rest(rest)
    )
    light = [e.weight for frame in frames[:20] for e in path.push(frame)]
    assert light
    assert set(light) == {1.0}
    dark = [
        e.weight
        for frame in frames[20:40]
        for e in path.push(VideoFrame(frame.luma // 32, frame.t_ns, frame.exposure_ns, frame.sequence))
    ]
    assert dark[-1] == 0.0


def test_a_bumped_camera_loses_its_weight_then_finds_the_keyboard_again(caplog):
    rng = np.random.default_rng(20)
    before, after = View(elevation=62), View(elevation=60, azimuth=4, centre=(0.49, 0.56))
    pictures = [[draw(view, rng) for _ in range(3)] for view in (before, after)]
    found = []
    path = VideoPath(
        LiteRtRuntime(DATA / SEEING.file), SEEING, StripSpec(), StageTimes(),
        from_corners(before.to_pixels(KEYBOARD_CORNERS), 640, 480), found.append,
    )  # fmt: skip
    weights = {}
    with caplog.at_level("INFO", logger="ivories.video_path"):
        for n in range(140):
            picture = pictures[n >= 50][n % 3]
            for evidence in path.push(VideoFrame(picture, n * 100_000_000, 0, n)):
                weights[n] = evidence.weight
    assert all(weights[n] == 1.0 for n in range(30, 50))
    assert not any(weights.get(n, 0.0) for n in range(60, 75)), "a second after the bump nothing counts"
    assert len(found) == 1
    keys = np.stack([KEY_CENTRE, np.full(88, 0.7)], 1)
    assert np.abs(found[0].to_plane(after.to_pixels(keys)) - keys)[:, 0].max() < 0.15
    assert weights[139] == 1.0
    moved, again = (record.getMessage() for record in caplog.records)
    assert "the camera was moved" in moved
    assert "keep the camera still" in moved
    assert "keyboard found" in again


def test_a_calibration_for_another_picture_size_is_told_of_and_made_anew(caplog):
    rng = np.random.default_rng(20)
    view = View(elevation=62)
    large = [draw(view, rng) for _ in range(3)]
    small = [cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA) for picture in large]
    found, seen = [], []
    path = VideoPath(
        LiteRtRuntime(DATA / SEEING.file), SEEING, StripSpec(), StageTimes(),
        from_corners(view.to_pixels(KEYBOARD_CORNERS) / 2, 320, 240), found.append,
    )  # fmt: skip
    with caplog.at_level("WARNING", logger="ivories.video_path"):
        for n in range(120):
            picture = (large, small)[n >= 60][n % 3]  # at 60 the camera comes back in another mode
            if path.push(VideoFrame(picture, n * 100_000_000, 0, n)):
                seen.append(n)
    assert [(c.width, c.height) for c in found] == [(640, 480), (320, 240)]
    keys = np.stack([KEY_CENTRE, np.full(88, 0.7)], 1)
    assert np.abs(found[0].to_plane(view.to_pixels(keys)) - keys)[:, 0].max() < 0.15
    assert 59 in seen
    assert not {60, 61} & set(seen)
    assert 119 in seen
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, told
    assert "640 x 480 pixels, but" in told[0]
    assert "made for 320 x 240" in told[0]
    assert "320 x 240 pixels, but" in told[1]
    assert all("the keyboard is searched for" in message for message in told)


def test_while_no_keyboard_is_to_be_found_the_log_says_what_to_do_once(caplog):
    path = VideoPath(LiteRtRuntime(DATA / SEEING.file), SEEING, StripSpec(), StageTimes())
    dark = np.zeros((480, 640), np.uint8)
    assert not [e for n in range(40) for e in path.push(VideoFrame(dark, n * 100_000_000, 0, n))]
    (message,) = (record.getMessage() for record in caplog.records)
    assert "switch a lamp on" in message


class Camera:
    """Looks at a keyboard in too much light, and can be asked for less."""

    def __init__(self, light, obeys=True):
        self.view, self.light, self.obeys = View(elevation=62), light, obeys
        self.asked = [0.0]
        self.drawn = {}

    def expose(self, stops):
        self.asked.append(stops)
        return self.obeys

    def picture(self, n):
        light = self.light * 2.0 ** self.asked[-1]
        if (light, n % 3) not in self.drawn:
            self.drawn[light, n % 3] = draw(self.view, np.random.default_rng(n % 3), light=light)
        return self.drawn[light, n % 3]

    def film(self, seconds):
        """Return the path that looked for so long at ten frames per second, and when it had evidence."""
        path = VideoPath(
            LiteRtRuntime(DATA / SEEING.file), SEEING, StripSpec(), StageTimes(),
            from_corners(self.view.to_pixels(KEYBOARD_CORNERS), 640, 480), expose=self.expose,
        )  # fmt: skip
        frames = range(round(10 * seconds))
        return path, [n for n in frames if path.push(VideoFrame(self.picture(n), n * 100_000_000, 0, n))]


def test_plain_white_keys_are_exposed_less_and_their_rest_image_is_learnt_anew(caplog):
    camera = Camera(3.0)
    with caplog.at_level("INFO", logger="ivories.video_path"):
        path, judged = camera.film(8)
    assert -3 < camera.asked[-1] < -0.5
    rest = path._strip.rest
    assert np.percentile(rest, 95) < 240, "the rest image has its shades"
    assert judged[-1] == 79
    assert min(judged) > 20, "nothing is told from a plain white rest image"
    told = [record.getMessage() for record in caplog.records]
    assert all("of the white keys are plain white: the camera exposes" in message for message in told)
    assert len(told) == len(camera.asked) - 1, "and nobody takes the step for a camera that was moved"


def test_a_camera_that_cannot_expose_less_is_told_of_once_and_used_as_it_is(caplog):
    camera = Camera(3.0, obeys=False)
    _, judged = camera.film(5)
    assert len(camera.asked) == 2
    assert judged[-1] == 49
    (message,) = (record.getMessage() for record in caplog.records)
    assert "does not let its exposure be corrected: dim or move the lamp" in message
