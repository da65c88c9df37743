"""The bundled take played to the instrument, saved by its recorder, read back and compared."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import mido
import numpy as np
import pytest
import soundfile

from ivories.app import Application
from ivories.clock import SECOND
from ivories.config import Config, RecorderSection
from ivories.controls import Request
from ivories.datatypes import AudioBlock, NoteKind
from ivories.media import probe
from ivories.notes import matched_pairs, read_notes
from ivories.recorder.keeper import POLL_S
from ivories.recorder.recorder import Recorder
from ivories.recorder.sound_ring import RATE
from ivories.replay import decode
from ivories.report import notes_of_events
from ivories.resources import bundled_take
from ivories.scoring import score_notes
from ivories.sinks.memory import MemorySink
from ivories.sinks.mqtt.embedded_broker import start_broker
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.video_file import VideoFileSource
from ivories.transcribe import Recording, prepare, transcribe
from mqtt_helpers import BROKERS, Dashboard, wait_for

TAKE = bundled_take()
EPOCH_NS = 3600 * SECOND  # the sensors' clock when the take begins
ASKED_S = 12.0


class Saved:
    """What the recorder made of the bundled take, and what it was made of."""

    def __init__(self, folder):
        app = Application(Config())
        recording = prepare(Recording(probe(TAKE), probe(TAKE)))
        self.material = decode(TAKE, TAKE)
        recorder = Recorder(RecorderSection(minutes=1, folder=str(folder)))
        self.heard = MemorySink()
        instrument = app.instrument([recorder, self.heard], recording.calibration)
        ears, eyes = app.audio_path(self.material.rate), app.video_path(recording.calibration)
        answers = []
        for item in sorted([*self.material.blocks, *self.material.frames], key=lambda item: item.t_ns):
            if isinstance(item, AudioBlock):
                recorder.hear(_at_epoch(item))
                evidence = ears.push(_at_epoch(item))
            else:
                recorder.see(_at_epoch(item))
                evidence = eyes.push(_at_epoch(item))
            for one in evidence:
                instrument.push(one)
            while len(recorder._keeper._seen) > 4 or len(recorder._keeper._heard) > 500:
                time.sleep(POLL_S / 4)
            if item.t_ns >= ASKED_S * SECOND and not instrument.controls.saved and not answers:
                answers.append("asked")
                assert instrument.controls.ask(Request("take", "", answers.append))
        instrument.finish()
        app.close()
        assert answers == ["asked", ""]
        assert not any(recorder.dropped.values())
        self.take = instrument.controls.saved
        self.path = {name.rsplit(".")[-1]: folder / self.take.name / name for name in self.take.files}


def _at_epoch(item):
    return replace(item, t_ns=item.t_ns + EPOCH_NS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return Saved(tmp_path_factory.mktemp("takes"))


def test_the_notes_are_those_that_left_at_their_times_on_the_sound(saved):
    end_ns = EPOCH_NS + round(saved.take.length_s * SECOND)
    left = notes_of_events(saved.heard.events)
    left["onset_s"] -= EPOCH_NS / SECOND
    left = np.sort(left[left["onset_s"] <= saved.take.length_s], order=["onset_s", "pitch"])
    written = np.sort(read_notes(saved.path["mid"]), order=["onset_s", "pitch"])
    assert len(written) == len(left) == saved.take.notes > 60
    for field in ("pitch", "velocity"):
        assert sorted(written[field]) == sorted(left[field])
    pairs = matched_pairs(left, written, 0.001)
    assert len(pairs) == len(left)
    assert np.abs(written["onset_s"][pairs[:, 1]] - left["onset_s"][pairs[:, 0]]).max() < 0.0003
    assert mido.MidiFile(saved.path["mid"]).length <= saved.take.length_s + 0.001
    assert any(e.kind is NoteKind.ONSET and e.t_ns > end_ns for e in saved.heard.events)  # and not later ones


def test_the_sound_is_that_of_the_room_from_its_first_sample_on(saved):
    samples, rate = soundfile.read(saved.path["flac"], dtype="float32")
    assert rate == RATE
    assert len(samples) / rate == pytest.approx(ASKED_S, abs=0.02)
    soxr = pytest.importorskip("soxr")
    played = np.concatenate([block.samples for block in saved.material.blocks])
    played = soxr.resample(played, saved.material.rate, RATE)[: len(samples)]
    assert np.sqrt(np.mean((samples - played) ** 2)) < 0.02 * np.sqrt(np.mean(played**2))


def test_transcribed_again_the_sound_gives_notes_that_lie_on_those_of_the_take(saved):
    app = Application(Config(), video=False)
    again = transcribe(app, Recording(audio=probe(saved.path["flac"])), [])
    direct = transcribe(app, Recording(audio=probe(TAKE)), [])
    app.close()
    heard = notes_of_events(again.events)
    before = notes_of_events(direct.events)
    scores = score_notes(before[before["onset_s"] < saved.take.length_s - 0.1], heard)
    assert scores.f1 > 0.97
    assert abs(scores.onset_bias_ms) < 0.5  # as the original sound does
    both = score_notes(read_notes(saved.path["mid"]), heard)
    assert both.f1 > 0.85  # eyes and ears against ears alone
    assert abs(both.onset_bias_ms) < 10


def test_the_film_shows_each_picture_when_it_was_seen_and_sounds_with_it(saved):
    film = list(VideoFileSource(saved.path["mp4"]))
    assert len(film) == pytest.approx(15 * ASKED_S, abs=3)
    assert film[0].t_ns < SECOND // 10
    for shown in film[::7]:
        near = [frame for frame in saved.material.frames if abs(frame.t_ns - shown.t_ns) < SECOND // 5]
        off = [np.abs(frame.luma.astype(int) - shown.luma).mean() for frame in near]
        assert abs(near[int(np.argmin(off))].t_ns - shown.t_ns) < SECOND // 1000
    sound = np.concatenate([block.samples for block in SoundFileSource(saved.path["mp4"])])
    plain, _ = soundfile.read(saved.path["flac"], dtype="float32")
    assert len(sound) == pytest.approx(len(plain), abs=2048)
    piece = plain[5 * RATE : 6 * RATE]
    match = np.correlate(sound[5 * RATE - 200 : 6 * RATE + 200], piece, "valid")
    assert match.argmax() == 200


def test_the_film_can_be_seen_and_heard_by_the_instrument(saved):
    app = Application(Config())
    recording = prepare(Recording(probe(saved.path["mp4"]), probe(saved.path["mp4"])))
    assert recording.video is not None  # the keyboard is found in it
    found = notes_of_events(transcribe(app, recording, []).events)
    app.close()
    assert score_notes(read_notes(saved.path["mid"]), found).f1 > 0.8


SETTINGS = """
[device]
name = "salon"
[audio]
source = "file"
device = "{take}"
[video]
source = "off"
[usb_midi]
enabled = "off"
[alsa_seq]
enabled = "off"
[mqtt]
host = "{host}"
port = {port}
[recorder]
minutes = 1
folder = "{folder}"
limit_gb = 0.01
"""


@pytest.mark.parametrize("which", BROKERS[:1])
def test_the_service_saves_takes_on_command_and_signal(tmp_path, which):
    folder, settings = tmp_path / "takes", tmp_path / "ivories.toml"
    with start_broker(which) as broker:
        dashboard = Dashboard(broker.port)
        settings.write_text(SETTINGS.format(take=TAKE, host=broker.host, port=broker.port, folder=folder))
        process = subprocess.Popen(
            [sys.executable, "-c", "from ivories.cli import main; main()", "run", "-c", settings],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

        def latest(name):
            payload = dashboard.latest(f"ivories/salon/{name}")
            return json.loads(payload) if payload else None

        wait_for(lambda: len(dashboard.notes()) > 30, 60)
        assert latest("info")["commands"] == ["policy", "panic", "take"]
        parts = json.loads(dashboard.latest("homeassistant/device/ivories_salon/config"))["components"]
        assert parts["save_take"]["command_topic"] == "ivories/salon/set/take"
        assert parts["last_take"]["state_topic"] == "ivories/salon/take"
        dashboard.client.publish("ivories/salon/set/take", b'{"value": "PRESS", "id": "t1"}', 1)
        wait_for(lambda: latest("reply"), 15)
        assert latest("reply") == {"command": "take", "ok": True, "value": "PRESS", "error": None, "id": "t1"}
        wait_for(lambda: latest("take"))
        first = latest("take")
        assert sorted(first["files"]) == sorted(path.name for path in (folder / first["name"]).iterdir())
        assert first["notes"] == len(read_notes(folder / first["name"] / f"{first['name']}.mid")) > 10

        os.kill(process.pid, signal.SIGUSR1)
        wait_for(lambda: latest("take") != first, 15)
        assert latest("take")["length_s"] > first["length_s"]
        dashboard.client.publish("ivories/salon/set/take", b'{"value": "never", "id": "t2"}', 1)
        wait_for(lambda: latest("reply")["id"] == "t2")
        assert "how many minutes" in latest("reply")["error"]

        played = [note for note in dashboard.notes() if note["kind"] == "onset"]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 0
        assert said.count("ivories: take saved: ") == 2
        assert "Traceback" not in said
        last = read_notes(folder / latest("take")["name"] / f"{latest('take')['name']}.mid")
        published = {note["pitch"] for note in played}
        assert set(last["pitch"]) <= published
        dashboard.close()
