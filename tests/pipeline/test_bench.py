"""``ivories bench``: what it measures is measured, with either sense or both, and what is missing is said."""

import io
import math
import os
import shutil
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from rich.console import Console

from ivories import bench
from ivories.app import Application
from ivories.bench import Request
from ivories.config import Config, ModelsSection
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.errors import ConfigError, ModelError, SourceError
from ivories.far_ends import MidiFarEnd, MqttFarEnd, latencies_ms
from ivories.inference.manifest import Channel, Manifest, save_manifest
from ivories.keyboard import KEYS
from ivories.latency import play
from ivories.media import probe
from ivories.replay import GRID_NS, ReplayedPictures, ReplayedSound, decode
from ivories.resources import bundled_take
from ivories.sources.sound_file import SoundFileSource
from ivories.transcribe import Recording
from ivories.vision.strip import StripSpec

ROOT = Path(__file__).parents[2]
SECONDS = 3.0
NOTHING = KeyState(np.zeros(KEYS, bool), np.zeros(KEYS, np.int64), np.zeros(KEYS, np.uint8))


@pytest.fixture(scope="module")
def take(tmp_path_factory):
    """The first seconds of the bundled take, and its truth beside it."""
    path = tmp_path_factory.mktemp("take") / "take.mp4"
    with av.open(str(bundled_take())) as whole, av.open(str(path), "w") as part:
        copies = {stream.index: part.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is not None and packet.pts * packet.time_base < SECONDS:
                packet.stream = copies[packet.stream.index]
                part.mux(packet)
    shutil.copy(bundled_take().with_suffix(".mid"), path.with_suffix(".mid"))
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the shipped hearing network and a tiny seeing one."""
    import hashlib

    folder = tmp_path_factory.mktemp("models")
    for name in ("audio.toml", "audio.tflite"):
        shutil.copy(ROOT / "models" / name, folder)
    shutil.copy(ROOT / "tests/data/tiny_video.tflite", folder / "video.tflite")
    save_manifest(
        Manifest(
            name="tiny", kind="video", file="video.tflite", frontend=StripSpec().fingerprint, input="strip",
            sha256=hashlib.sha256((folder / "video.tflite").read_bytes()).hexdigest(),
            channels=[*(Channel(kind="onset", horizon=h) for h in (2, 5, 9)), Channel(kind="frame"),
                      Channel(kind="offset"), Channel(kind="velocity")],
            thresholds={policy: [9.0, 9.0, 9.0] for policy in ("earliest", "balanced", "surest")},
        ),
        folder / "video.toml",
    )  # fmt: skip
    return Config(models=ModelsSection(folder=str(folder)))


@pytest.fixture(scope="module")
def deaf(models, tmp_path_factory):
    """A folder with the seeing network only."""
    folder = tmp_path_factory.mktemp("deaf")
    for name in ("video.toml", "video.tflite"):
        shutil.copy(Path(models.models.folder) / name, folder)
    return Config(models=ModelsSection(folder=str(folder)))


def measured(config, *sources, **options):
    out = io.StringIO()
    bench.run(config, Request(sources=sources, **options), Console(file=out, width=140))
    return out.getvalue()


def test_both_senses_on_one_core(models, take):
    allowed = os.sched_getaffinity(0)
    told = measured(models, take)
    for words in ("audio features", "audio network", "video strip", "video network", "fusion and tracker"):
        assert words in told
    assert "sound and pictures: all stages take" in told
    assert "x real time" in told
    assert "right notes: median" in told
    assert "horizons 2/5/9 frames" in told
    assert "Without" not in told
    assert os.sched_getaffinity(0) == allowed


def test_sound_alone(models, take):
    told = measured(models, take, audio_only=True)
    assert ", sound: all stages" in told
    assert "video" not in told


def test_pictures_alone(models, take):
    told = measured(models, take, video_only=True)
    assert ", pictures: all stages" in told
    assert "audio" not in told


def test_a_missing_network_is_said_and_the_rest_measured(deaf, take):
    told = measured(deaf, take)
    assert "Without audio: no model manifest" in told
    assert ", pictures: all stages" in told


def test_a_take_without_pictures_is_said(models, take, tmp_path):
    path = tmp_path / "sound.wav"
    source = SoundFileSource(take)
    soundfile.write(path, np.concatenate([block.samples for block in source]), source.rate)
    told = measured(models, path)
    assert "Without video: sound.wav has no pictures" in told
    assert "Without sound.mid" in told


def test_nothing_left_is_an_error_with_the_reason(deaf, take, tmp_path):
    with pytest.raises(ModelError, match="no model manifest"):
        measured(deaf, take, audio_only=True)
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.zeros(1600), 16_000)
    with pytest.raises(SourceError, match="no pictures"):
        measured(deaf, path, video_only=True)


@pytest.mark.parametrize(
    "options",
    [
        {"audio_only": True, "video_only": True},
        {"picture": Path("x.svg")},
        {"picture": Path("x.jpg"), "latency": True},
    ],
)
def test_options_that_make_no_sense_are_refused(models, take, options):
    with pytest.raises(ConfigError):
        measured(models, take, **options)


def test_latencies_through_the_real_threads(models, take, tmp_path):
    picture = tmp_path / "latency.svg"
    start = time.monotonic()
    told = measured(models, take, latency=True, picture=picture)
    assert time.monotonic() - start > SECONDS
    for words in (
        "audio │ capture", "audio │ front end and network", "audio │ waits for fusion", "video │ capture",
        "video │ waits for the network", "video │ waits for fusion", "decided -> MIDI bytes",
        "From the sound of a right note", "right notes,", "p99", "jitter", "#####",
    ):  # fmt: skip
        assert words in told, told
    assert picture.read_text().startswith("<svg")


def test_known_notes_leave_after_they_sound_and_arrive_after_they_left(models, take):
    app = Application(models, video=False)
    try:
        played = play(app, Recording(audio=probe(take)), take.with_suffix(".mid"))
    finally:
        app.close()
    assert played.right >= 5
    decided = played.onsets["audio", "decided"]
    at_port = played.onsets["audio", "MIDI bytes"]
    assert len(decided) == len(at_port) == played.right
    # the first horizon lies 20 ms behind the onset; the estimate of the truth is good to some milliseconds
    assert 5 < np.median(decided) < 500
    assert (at_port > decided).all()
    gone = played.steps["both", "decided -> MIDI bytes"]
    left = played.steps["both", "decided -> left usb_midi"]
    assert len(gone) >= 2 * played.right  # onsets and offsets
    assert gone.min() > 0
    assert len(left) == len(gone)
    assert left.min() > 0
    assert np.median(left) < np.median(gone) + 1  # the port's own word agrees with who listens at it
    assert played.steps["audio", "capture"].min() > 0
    assert len(played.onsets["video", "decided"]) == 0


def event(kind, key, velocity=64):
    return NoteEvent(kind, key, velocity, 0, 0, 1.0)


SENT = [
    event(NoteKind.ONSET, 39),
    event(NoteKind.ONSET, 43),
    event(NoteKind.PEDAL, -1, 127),
    event(NoteKind.OFFSET, 39),
    event(NoteKind.ONSET, 39),
    event(NoteKind.PEDAL, -1, 0),
]


@pytest.mark.parametrize("end", [MidiFarEnd, MqttFarEnd])
def test_a_far_end_hears_what_was_sent_and_when(end):
    if end is MqttFarEnd and not shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin"):
        pytest.skip("mosquitto is not installed")
    far = end()
    sent = []
    for item in SENT:
        sent.append((time.monotonic_ns(), item))
        far.sink.send(item, NOTHING)
        time.sleep(0.05)
    arrived = far.finish()
    late = latencies_ms(sent, arrived)
    assert all(0 < ms < 1000 for ms in late), late
    # A clean start may reach a slow far end after the first note was sent: it holds no onset.
    after = [word for t, word in arrived if t > sent[0][0]]
    after = after[[kind for kind, _ in after].index(NoteKind.ONSET) :]
    assert after[: len(SENT)] == [(item.kind, item.key) for item in SENT]


def test_an_event_that_never_arrives_has_no_latency():
    onset = event(NoteKind.ONSET, 10)
    sent = [(1_000_000, onset), (5_000_000, onset), (9_000_000, onset)]
    arrived = [
        (500_000, (NoteKind.ONSET, 10)),  # of before
        (2_000_000, (NoteKind.ONSET, 10)),
        (6_000_000, (NoteKind.OFFSET, 10)),
        (9_500_000, (NoteKind.ONSET, 10)),
    ]
    late = latencies_ms(sent, arrived)
    assert late[0] == 1.0
    assert late[1] == 4.5
    assert math.isnan(late[2])


def test_a_repeated_recording_has_no_seam(take):
    material = decode(take, take, block_ms=5.0)
    assert material.period_ns % GRID_NS == 0
    sound = list(ReplayedSound(material, 3))
    once = np.concatenate([block.samples for block in SoundFileSource(take)])
    following = 0
    for block in sound:
        assert block.first_sample == following
        following += len(block.samples)
    period = material.rate * material.period_ns // 1_000_000_000
    assert following == 3 * period
    whole = np.concatenate([block.samples for block in sound])
    for number in range(3):
        np.testing.assert_array_equal(whole[number * period :][: len(once)], once)
    pictures = list(ReplayedPictures(material, 2))
    assert [frame.sequence for frame in pictures] == list(range(2 * len(material.frames)))
    times = [frame.t_ns for frame in pictures]
    assert times == sorted(times)
    assert times[len(material.frames)] - times[0] == material.period_ns
    np.testing.assert_array_equal(pictures[-1].luma, material.frames[-1].luma)


def test_too_long_a_recording_is_cut_with_a_warning(take, caplog):
    whole = decode(take, take)
    part = decode(take, take, limit_bytes=40 * whole.frames[0].luma.size)
    assert len(part.frames) == 40
    assert 0 < part.blocks[-1].t_ns - part.frames[-1].t_ns < 50_000_000
    assert "only the first 1 s" in caplog.text
