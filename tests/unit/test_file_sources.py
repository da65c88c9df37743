"""Files as they come: one container's two clocks, phones' rotations, holes, damage, and what to say of it."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from ivories.clock import SECOND
from ivories.errors import SourceError
from ivories.keyboard import KEY_CENTRE
from ivories.sources.images import ImageFolderSource
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.synthetic import SyntheticPictures, SyntheticSound, performance
from ivories.sources.video_file import VideoFileSource

FPS = 50
RATE = 48_000
CLICKS_S = (0.4, 0.9, 1.44)


def flash_and_click(path: Path, *, video_codec, audio_codec, late_sound_s=0.0, options=None):
    """Write a container with a flash and a click at each of CLICKS_S (multiples of one frame)."""
    seconds = 2.0
    with av.open(str(path), "w", container_options=options or {}) as container:
        video = container.add_stream(video_codec, rate=FPS)
        video.width, video.height, video.pix_fmt = 128, 64, "yuv420p"
        audio = container.add_stream(audio_codec, rate=RATE, layout="mono")
        sound = np.zeros(round(seconds * RATE), np.float32)
        for click in CLICKS_S:
            at = round(click * RATE)
            sound[at : at + 48] = 0.9
        sound = sound[round(late_sound_s * RATE) :]
        frame = av.AudioFrame.from_ndarray(sound[np.newaxis], "flt", "mono")
        frame.sample_rate = RATE
        frame.pts = round(late_sound_s * RATE)
        frame.time_base = Fraction(1, RATE)
        fit = av.AudioResampler(format=audio.codec_context.format, layout="mono", rate=RATE)
        for part in fit.resample(frame):
            container.mux(audio.encode(part))
        container.mux(audio.encode(None))
        flashes = {round(click * FPS) for click in CLICKS_S}
        for index in range(round(seconds * FPS)):
            luma = np.full((64, 128), 235 if index in flashes else 16, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(luma, "gray").reformat(format="yuv420p")))
        container.mux(video.encode(None))
    return path


def click_times(path):
    """Return the times (s) at which the sound first rises after silence."""
    source = SoundFileSource(path)
    blocks = list(source)
    samples = np.concatenate([block.samples for block in blocks])
    loud = np.abs(samples) > 0.3
    quiet_before = np.convolve(loud, np.ones(4800), "full")[: len(loud)] - loud == 0
    return blocks[0].t_ns / SECOND + np.flatnonzero(loud & quiet_before) / source.rate


def flash_times(path):
    return [frame.t_ns / SECOND for frame in VideoFileSource(path) if frame.luma.mean() > 128]


@pytest.mark.parametrize(
    ("name", "video_codec", "audio_codec"),
    [
        ("take.mp4", "mpeg4", "aac"),
        ("take.mp4", "libx264", "aac"),
        ("take.mkv", "mpeg4", "aac"),
        ("take.mkv", "libvpx", "libopus"),
        ("take.mov", "mpeg4", "pcm_s16le"),
        ("take.avi", "mpeg4", "pcm_s16le"),
        ("take.ts", "mpeg2video", "aac"),
    ],
)
def test_sound_and_pictures_of_one_container_share_their_zero(tmp_path, name, video_codec, audio_codec):
    path = flash_and_click(tmp_path / name, video_codec=video_codec, audio_codec=audio_codec)
    flashes, clicks = flash_times(path), click_times(path)
    assert len(flashes) == len(clicks) == len(CLICKS_S)
    assert clicks - flashes == pytest.approx(np.zeros(3), abs=0.003)
    if not name.endswith(".ts"):  # a transport stream's zero is its earliest packet
        assert flashes == pytest.approx(CLICKS_S, abs=0.001)


def test_a_sound_track_that_starts_late_keeps_its_delay(tmp_path):
    path = flash_and_click(
        tmp_path / "take.mkv", video_codec="mpeg4", audio_codec="pcm_s16le", late_sound_s=0.3
    )
    assert click_times(path) == pytest.approx(CLICKS_S, abs=0.003)
    assert SoundFileSource(path).__iter__().__next__().t_ns == pytest.approx(0.3 * SECOND, abs=2_000_000)


def write_video(path, frames, *, times=None, pix_fmt="yuv420p", codec="mpeg4", rate=FPS):
    """Write ``frames`` (luma arrays) at ``times`` in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = Fraction(1, 1000)
        for index, luma in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(luma, "gray").reformat(format=pix_fmt)
            frame.pts = round(index * 1000 / rate) if times is None else times[index]
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_an_uneven_frame_rate_keeps_its_times(tmp_path):
    times = [0, 33, 66, 140, 150, 201]
    path = write_video(tmp_path / "uneven.mkv", [np.full((64, 96), 90, np.uint8)] * 6, times=times)
    assert [frame.t_ns // 1_000_000 for frame in VideoFileSource(path)] == times


@pytest.mark.parametrize(
    ("pix_fmt", "codec"),
    [("yuv420p", "ffv1"), ("yuv444p", "ffv1"), ("yuv420p10le", "ffv1"), ("gray", "ffv1")],
)
def test_luma_is_the_files_own(tmp_path, pix_fmt, codec):
    picture = np.tile(np.arange(16, 236, 2, dtype=np.uint8), (66, 1))  # 110 wide: rows are padded
    path = write_video(tmp_path / "ramp.mkv", [picture], pix_fmt=pix_fmt, codec=codec)
    with av.open(str(path)) as container:
        plane = next(container.decode(video=0)).to_ndarray()[:66]
    expected = plane[0] if plane.ndim == 3 else plane  # yuv444p comes as (3, H, W)
    expected = np.round(expected / 4) if pix_fmt.endswith("10le") else expected
    (frame,) = VideoFileSource(path)
    assert np.abs(frame.luma.astype(int) - expected).max() <= 1
    assert np.ptp(frame.luma) > 180


def turn(path, degrees):
    """Write into an MP4 file's track header that it is to be shown turned clockwise, as phones do."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = struct.pack(">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = matrix
    path.write_bytes(content)


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_a_phones_picture_stands_upright(tmp_path, degrees, corner):
    picture = np.full((64, 96), 30, np.uint8)
    picture[:16, :16] = 220  # top left as the sensor saw it
    turned = write_video(tmp_path / "turned.mp4", [picture] * 3)
    turn(turned, degrees)
    source = VideoFileSource(turned)
    frame = next(iter(source))
    assert (source.width, source.height) == ((96, 64) if degrees % 180 == 0 else (64, 96))
    assert frame.luma.shape == (source.height, source.width)
    assert frame.luma[corner] > 180
    assert (frame.luma > 128).mean() < 0.1


def test_a_hole_in_a_sound_track_is_a_gap(tmp_path):
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for start in (0, 800, 4000, 4800):
            frame = av.AudioFrame.from_ndarray(np.full((1, 800), 1000, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    blocks = list(SoundFileSource(path))
    holes = [block for block in blocks if block.gap]
    assert [(block.gap, block.first_sample, block.t_ns) for block in holes] == [(2400, 4000, 500_000_000)]
    assert sum(len(block.samples) for block in blocks) == 3200
    assert blocks[-1].first_sample + len(blocks[-1].samples) == 5600


def test_channels_are_averaged_and_wild_floats_tamed(tmp_path):
    left = np.array([0.5, 1.0, np.nan, np.inf, 3.0], np.float32)
    right = np.array([-0.5, 0.5, 0.0, 0.0, 3.0], np.float32)
    soundfile.write(tmp_path / "wild.wav", np.stack([left, right], 1), 8000, subtype="FLOAT")
    (block,) = SoundFileSource(tmp_path / "wild.wav")
    assert block.samples.tolist() == [0.0, 0.75, 0.0, 1.0, 1.0]


def test_images_are_sorted_as_people_count(tmp_path):
    for index in range(12):
        cv2.imwrite(str(tmp_path / f"f{index}.png"), np.full((8, 8), 10 * index, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    shades = [int(frame.luma[0, 0]) for frame in ImageFolderSource(tmp_path, 10)]
    assert shades == [10 * index for index in range(12)]
    assert len(list(ImageFolderSource(f"{tmp_path}/f1*.png"))) == 3


def damage(path, keep):
    path.write_bytes(path.read_bytes()[: round(keep * path.stat().st_size)])
    return path


def test_a_file_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    frames = [np.full((64, 96), 20 + index, np.uint8) for index in range(100)]
    video = damage(write_video(tmp_path / "cut.mkv", frames), 0.5)
    assert 10 < len(list(VideoFileSource(video))) < 90
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)
    soundfile.write(tmp_path / "cut.wav", noise, 8000)
    blocks = list(SoundFileSource(damage(tmp_path / "cut.wav", 0.5)))
    assert sum(len(block.samples) for block in blocks) == pytest.approx(24_000, abs=100)


def say(kind, path):
    """Return what a user is told; reading to the end counts as well."""
    with pytest.raises(SourceError) as caught:
        list(kind(path))
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("kind", [SoundFileSource, VideoFileSource])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.mp4", "a.raw", "a"])
def test_what_is_no_recording_is_told_in_one_sentence(tmp_path, kind, name):
    path = tmp_path / name
    assert "there is no file" in say(kind, path)
    path.write_bytes(b"")
    assert "is empty" in say(kind, path)
    path.write_bytes(b"It was a dark and stormy night.\n" * 50)
    say(kind, path)
    path.write_bytes(np.random.default_rng(5).bytes(5000))
    say(kind, path)
    path.unlink()
    path.mkdir()
    assert "is a folder" in say(kind, path)


def test_a_track_that_is_not_there_is_told(tmp_path):
    video = write_video(tmp_path / "silent.mp4", [np.full((64, 96), 20, np.uint8)] * 3)
    assert "no sound track" in say(SoundFileSource, video)
    soundfile.write(tmp_path / "tone.wav", np.zeros(100), 8000)
    assert "no pictures" in say(VideoFileSource, tmp_path / "tone.wav")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 8000)
    assert "no sound" in say(SoundFileSource, tmp_path / "nothing.wav")


def test_what_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    assert "cannot be read: Not a directory" in say(SoundFileSource, tmp_path / "file" / "a.wav")


def test_images_that_do_not_fit_are_told(tmp_path):
    with pytest.raises(SourceError, match="no image"):
        ImageFolderSource(tmp_path)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((8, 9), np.uint8))
    with pytest.raises(SourceError, match=r"b\.png is 9 x 8"):
        list(ImageFolderSource(tmp_path))
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"b\.png is not an image"):
        list(ImageFolderSource(tmp_path))
    with pytest.raises(SourceError, match="above 0"):
        ImageFolderSource(tmp_path, 0)


def test_the_synthetic_piano_is_one_piano():
    sound, pictures = SyntheticSound(seed=4, seconds=6.0), SyntheticPictures(seed=4, seconds=6.0)
    assert sound.notes == pictures.notes == performance(4, 6.0)
    assert sound.notes != performance(5, 6.0)
    assert len(sound.notes) > 5
    again = SyntheticSound(seed=4, seconds=6.0)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(sound, again, strict=True))
    note = sound.notes[0]
    samples = np.concatenate([block.samples for block in again])
    onset = round(note.onset_s * again.rate)
    assert np.abs(samples[:onset]).max() < 0.001
    assert np.abs(samples[onset : onset + 800]).max() > 0.01
    (left, top), (right, _), (_, bottom), _ = pictures.corners
    column = round(left + (right - left) * KEY_CENTRE[note.key] / 52)
    row = round(top + (bottom - top) * 0.3)
    shades = {round(frame.t_ns / SECOND, 3): int(frame.luma[row, column]) for frame in pictures}
    resting = np.mean([shade for t, shade in shades.items() if t < note.onset_s])
    held = np.mean([shade for t, shade in shades.items() if note.onset_s <= t < note.offset_s])
    assert resting - held == pytest.approx(25, abs=5)


def test_a_picture_that_changes_its_size_is_told(tmp_path):
    pictures = [np.full((64, 96), 90, np.uint8)] * 5 + [np.full((48, 64), 90, np.uint8)] * 5
    path = tmp_path / "grown.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures))
    assert "from 96 x 64 to 64 x 48" in say(VideoFileSource, path)
