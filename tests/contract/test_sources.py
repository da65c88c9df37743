"""What every source of sound or pictures keeps to, files and fakes alike."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from ivories.clock import SECOND, now_ns
from ivories.sources.images import ImageFolderSource
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.synthetic import SyntheticPictures, SyntheticSound
from ivories.sources.video_file import VideoFileSource

SECONDS = 0.5
RATE = 22_050
FPS = 25


def tone():
    t = np.arange(round(SECONDS * RATE)) / RATE
    return (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)


def write_container(path: Path, *, sound: bool, pictures: bool, codec: str = "mpeg4") -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=FPS) if pictures else None
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
            for index in range(round(SECONDS * FPS)):
                luma = np.full((64, 96), 16 + 10 * index, np.uint8)
                frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(tone()[np.newaxis], "fltp", "mono")
            frame.sample_rate = RATE
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def wav(folder):
    soundfile.write(folder / "tone.wav", tone(), RATE)
    return folder / "tone.wav"


def flac(folder):
    soundfile.write(folder / "tone.flac", np.stack([tone(), tone()], 1), RATE)
    return folder / "tone.flac"


def images(folder):
    for index in range(round(SECONDS * FPS)):
        cv2.imwrite(str(folder / f"frame{index}.png"), np.full((64, 96), 16 + 10 * index, np.uint8))
    return folder


@dataclass
class Kind:
    """How to open one source on material of SECONDS length."""

    prepare: Callable[[Path], Path | None]
    open: Callable[..., object]


SOUND = {
    "wav": Kind(wav, SoundFileSource),
    "flac": Kind(flac, SoundFileSource),
    "track": Kind(
        lambda folder: write_container(folder / "take.mp4", sound=True, pictures=True), SoundFileSource
    ),
    "synthetic": Kind(lambda _: None, lambda _, **more: SyntheticSound(seconds=SECONDS, rate=RATE, **more)),
}
PICTURES = {
    "video": Kind(
        lambda folder: write_container(folder / "take.mp4", sound=True, pictures=True), VideoFileSource
    ),
    "images": Kind(images, lambda path, **more: ImageFolderSource(path, FPS, **more)),
    "synthetic": Kind(
        lambda _: None,
        lambda _, **more: SyntheticPictures(seconds=SECONDS, fps=FPS, width=96, height=64, **more),
    ),
}


def opener(kind, folder):
    material = kind.prepare(folder)
    return lambda **more: kind.open(material, **more)


@pytest.fixture(params=SOUND)
def sound(request, tmp_path):
    return opener(SOUND[request.param], tmp_path)


@pytest.fixture(params=PICTURES)
def pictures(request, tmp_path):
    return opener(PICTURES[request.param], tmp_path)


@pytest.fixture(
    params=[*(("sound", name) for name in SOUND), *(("pictures", name) for name in PICTURES)], ids="-".join
)
def anything(request, tmp_path):
    sense, name = request.param
    return opener((SOUND if sense == "sound" else PICTURES)[name], tmp_path)


def test_sound_comes_in_seamless_read_only_blocks(sound):
    source = sound()
    blocks = list(source)
    assert source.rate == RATE
    assert blocks[0].first_sample == 0
    assert blocks[0].t_ns == 0
    for before, after in pairwise(blocks):
        assert after.gap == 0
        assert after.first_sample == before.first_sample + len(before.samples)
    for block in blocks:
        assert block.rate == RATE
        assert block.samples.dtype == np.float32
        assert block.samples.ndim == 1
        assert not block.samples.flags.writeable
        assert np.abs(block.samples).max() <= 1
        assert abs(block.t_ns - block.first_sample * SECOND / RATE) <= 1
    total = blocks[-1].first_sample + len(blocks[-1].samples)
    assert total == pytest.approx(SECONDS * RATE, abs=2048)
    assert {len(block.samples) for block in blocks[:-1]} == {round(RATE / 100)}


def test_pictures_come_in_order_read_only(pictures):
    source = pictures()
    frames = list(source)
    assert len(frames) == round(SECONDS * FPS)
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert [frame.t_ns for frame in frames] == pytest.approx(
        [index * SECOND / FPS for index in range(len(frames))], abs=1
    )
    for frame in frames:
        assert frame.luma.dtype == np.uint8
        assert frame.luma.shape == (source.height, source.width) == (64, 96)
        assert frame.luma.strides[1] == 1
        assert not frame.luma.flags.writeable


def test_frames_keep_their_content_while_later_ones_are_read(pictures):
    frames = list(pictures())
    again = list(pictures())
    for index in (0, 3, len(frames) - 1):
        assert np.array_equal(frames[index].luma, again[index].luma)
    assert not np.array_equal(frames[0].luma, frames[-1].luma)


def test_paced_items_come_when_a_sensor_would_deliver_them(anything):
    lateness = []
    stamps = []
    source = anything(realtime=True)
    for item in source:
        length_ns = len(item.samples) * SECOND // RATE if hasattr(item, "samples") else 0
        lateness.append(now_ns() - item.t_ns - length_ns)
        stamps.append(item.t_ns)
        if stamps[-1] - stamps[0] > 0.3 * SECOND:
            break
    source.close()
    assert min(lateness) >= 0
    assert np.median(lateness) < 30_000_000


def test_an_epoch_sets_the_time_of_the_first_item(anything):
    epoch_ns = now_ns() + 50_000_000
    source = anything(realtime=True, epoch_ns=epoch_ns)
    assert next(iter(source)).t_ns == epoch_ns
    assert now_ns() >= epoch_ns
    source.close()


def test_close_from_another_thread_ends_the_iteration(anything):
    source = anything(realtime=True, epoch_ns=now_ns() + 3600 * SECOND)
    seen = []
    thread = threading.Thread(target=lambda: seen.extend(source))
    thread.start()
    time.sleep(0.05)
    source.close()
    thread.join(timeout=2.0)
    assert not thread.is_alive()
    assert seen == []
    source.close()


def test_a_recording_says_how_long_and_who_it_is(anything):
    source = anything()
    assert source.duration_ns == pytest.approx(SECONDS * SECOND, abs=0.1 * SECOND)
    assert "object at" not in repr(source)
    source.close()


def test_close_before_and_amid_an_iteration(anything):
    fresh = anything()
    fresh.close()
    assert list(fresh) == []
    source = anything()
    items = iter(source)
    next(items)
    source.close()
    assert list(items) == []
