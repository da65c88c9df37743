"""Takes on the disk: complete or not there, never too many, and a sentence for what goes wrong."""

import logging
import resource
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import av
import mido
import numpy as np
import pytest
import soundfile

from ivories.clock import MILLISECOND, SECOND
from ivories.config import RecorderSection
from ivories.controls import Controls, Request
from ivories.datatypes import AudioBlock, VideoFrame
from ivories.errors import SinkError
from ivories.recorder import shelf as shelves
from ivories.recorder.keeper import WAITING
from ivories.recorder.picture_ring import PictureRing
from ivories.recorder.recorder import REQUESTS, Recorder
from ivories.recorder.shelf import Shelf
from ivories.recorder.sound_ring import RATE, SoundRing
from ivories.recorder.take import Take
from mqtt_helpers import wait_for
from played import Player, offset, onset, pedal

WHEN = datetime.fromisoformat("2026-11-21T18:30:05+01:00")
NAME = "2026-11-21_18-30-05"
MEGABYTE = 1_000_000


def fill(folder, name, size=1000):
    (folder / f"{name}.mid").write_bytes(bytes(size))
    return size


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_take_appears_whole_under_its_moment(tmp_path):
    shelf = Shelf(tmp_path / "deep" / "takes", MEGABYTE)

    def write(folder, name):
        assert entries(shelf.folder) == [f".{NAME}.part"]
        return fill(folder, name)

    path, size = shelf.put(WHEN, 2000, write)
    assert (path, size) == (shelf.folder / NAME, 1000)
    assert entries(path) == [f"{NAME}.mid"]
    assert shelf.put(WHEN, 2000, fill)[0].name == f"{NAME}_2"
    assert entries(shelf.folder) == [NAME, f"{NAME}_2"]
    assert (shelf.takes(), shelf.used_bytes()) == ([shelf.folder / NAME, shelf.folder / f"{NAME}_2"], 2000)


def test_what_fails_leaves_nothing(tmp_path):
    def fail(folder, name):
        fill(folder, name)
        raise SinkError("the disk is on fire")

    with pytest.raises(SinkError, match="on fire"):
        Shelf(tmp_path, MEGABYTE).put(WHEN, 0, fail)
    assert entries(tmp_path) == []


def test_what_a_power_cut_left_is_removed_and_nothing_else(tmp_path):
    for name in (f".{NAME}.part", NAME, "holiday"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name, "a")
    Shelf(tmp_path, MEGABYTE).tidy()
    assert entries(tmp_path) == [NAME, "holiday"]


def test_a_full_shelf_refuses_and_deletes_nothing(tmp_path):
    shelf = Shelf(tmp_path, 5000)
    for _ in range(4):
        shelf.put(WHEN, 1000, fill)
    with pytest.raises(SinkError, match=r"no room.*4 takes hold.*recorder\.limit_gb"):
        shelf.put(WHEN, 1001, fill)
    assert len(shelf.takes()) == 4
    assert shelf.state() == f"4 in {tmp_path}, 0 of 0 MiB"
    with pytest.raises(SinkError, match="no room for a take"):
        Shelf(tmp_path, 3999).state()


def test_pruning_takes_the_oldest_and_only_takes(tmp_path, caplog):
    (tmp_path / "holiday").mkdir()
    for year in (2021, 2019, 2020):
        Shelf(tmp_path, 5000).put(WHEN.replace(year=year), 1000, fill)
    shelf = Shelf(tmp_path, 3500, prune=True)
    with caplog.at_level(logging.WARNING):
        shelf.put(WHEN, 2000, fill)
    assert [path.name[:4] for path in shelf.takes()] == ["2021", "2026"]
    assert (tmp_path / "holiday").exists()
    assert caplog.text.count("deleted to make room") == 2
    with pytest.raises(SinkError, match="no room"):
        shelf.put(WHEN, 4000, fill)
    assert len(shelf.takes()) == 2  # all of them would not have been enough


def test_the_last_of_the_disk_is_left_to_others(tmp_path, monkeypatch):
    monkeypatch.setattr(shelves, "KEPT_FREE", 1 << 60)
    with pytest.raises(SinkError, match="the disk has only"):
        Shelf(tmp_path, MEGABYTE).put(WHEN, 1000, fill)
    assert entries(tmp_path) == []


@pytest.mark.parametrize("folder", ["/sys/takes", "/dev/null/takes"])
def test_a_folder_that_cannot_be_made_is_a_sentence(folder):
    with pytest.raises(SinkError, match=rf"cannot save a take in {folder}: \w+"):
        Shelf(Path(folder), MEGABYTE).put(WHEN, 1000, fill)


def sound_of(seconds, start_ns=0):
    ring = SoundRing(seconds)
    samples = np.random.default_rng(1).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)
    ring.push(AudioBlock(samples, RATE, 0, start_ns))
    return ring.cut(0, 1 << 62)


def test_a_take_without_a_camera_has_notes_and_sound_on_one_clock(tmp_path):
    sound = sound_of(3.0, 100 * SECOND)
    events = [pedal(80, 100.0), onset(39, 101.25), offset(39, 102.5), pedal(0, 103.0)]
    take = Take(100 * SECOND, 103 * SECOND, WHEN, sound, events)
    assert [path.name for path in take.write(tmp_path, NAME)] == [f"{NAME}.mid", f"{NAME}.flac"]
    samples, rate = soundfile.read(tmp_path / f"{NAME}.flac", dtype="int16")
    assert rate == RATE
    assert np.array_equal(samples, sound.samples)
    with soundfile.SoundFile(tmp_path / f"{NAME}.flac") as file:
        assert (file.title, file.date) == (NAME, "2026-11-21T18:30:05+01:00")
    messages = [m for m in mido.MidiFile(tmp_path / f"{NAME}.mid") if not m.is_meta]
    assert [m.type for m in messages] == ["control_change", "note_on", "note_off", "control_change"]
    assert np.cumsum([m.time for m in messages]) == pytest.approx([0, 1.25, 2.5, 3.0], abs=0.00013)
    assert (take.length_s, take.onsets) == (3.0, 1)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= take.most_bytes


FULL = """
import resource, sys
from datetime import datetime
from pathlib import Path
sys.path[:0] = [{tests!r}, {unit!r}]
from test_takes import WHEN, sound_of
from ivories.errors import SinkError
from ivories.recorder.shelf import Shelf
from ivories.recorder.take import Take
take = Take(0, 60, WHEN, sound_of(60.0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Shelf(Path(sys.argv[1]), 10**9).put(WHEN, take.most_bytes, take.write)
except SinkError as error:
    print(error)
"""


def test_a_file_that_cannot_be_written_to_its_end_leaves_no_take(tmp_path):
    """The system refuses to let files grow, as a full disk does."""
    here = Path(__file__).parent
    code = FULL.format(tests=str(here.parent), unit=str(here))
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == (f"cannot write {NAME}.flac: File too large\n", "")
    assert entries(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


class Room:
    """A recorder in a room where time goes as fast as it is told to."""

    def __init__(self, folder, **settings):
        self.recorder = Recorder(RecorderSection(folder=str(folder), **{"minutes": 0.5} | settings))
        self.controls = Controls()
        self.recorder.attach(self.controls)
        self.player = Player(self.recorder)
        self.sample = self.frame = 0
        self.answers = []

    def pass_time(self, seconds, *, picture=None):
        for _ in range(round(seconds * 100)):
            self.recorder.hear(AudioBlock(np.full(160, 0.25, np.float32), RATE, self.sample, self.now_ns))
            self.sample += 160
            if picture is not None and self.sample % 480 == 0:
                self.recorder.see(VideoFrame(picture, self.now_ns, 0, self.frame))
                self.frame += 1
        wait_for(lambda: not len(self.recorder._keeper._heard) and not len(self.recorder._keeper._seen))

    @property
    def now_ns(self):
        return self.sample * SECOND // RATE

    def ask(self, value=""):
        return self.controls.ask(Request("take", value, self.answers.append))


@pytest.fixture
def room(tmp_path, opened):
    room = Room(tmp_path / "takes")
    opened.append(room.recorder)
    return room


def test_the_notes_before_the_moment_are_waited_for_and_those_after_it_left_out(room):
    room.pass_time(2.0)
    assert room.ask()
    room.player.play(onset(39, 1.98), onset(40, 2.1))
    room.pass_time(1.0)
    wait_for(lambda: room.answers)
    assert room.answers == [""]
    saved = room.controls.saved
    assert (saved.length_s, saved.notes) == (2.0, 1)
    folder = room.recorder._shelf.folder / saved.name
    assert sorted(saved.files) == entries(folder) == [f"{saved.name}.flac", f"{saved.name}.mid"]
    assert saved.nbytes == sum(path.stat().st_size for path in folder.iterdir())


def test_only_the_last_minutes_on_request(room):
    room.pass_time(8.0)
    room.ask("0.05")
    room.pass_time(1.0)
    wait_for(lambda: room.answers)
    assert room.controls.saved.length_s == pytest.approx(3.0, abs=0.001)


def test_a_take_goes_on_for_no_longer_than_what_is_kept(room):
    for _ in range(5):
        room.pass_time(8.0)
    room.ask()
    room.pass_time(1.0)
    wait_for(lambda: room.answers)
    assert room.controls.saved.length_s == pytest.approx(30.0, abs=0.001)


def test_sensors_that_have_gone_do_not_hold_a_take_up_forever(room):
    room.pass_time(1.0)
    room.ask()
    wait_for(lambda: room.answers, 10)
    assert room.controls.saved.length_s == 1.0


def test_where_nothing_was_heard_there_is_nothing_to_save(room):
    room.ask()
    wait_for(lambda: room.answers, 10)
    assert "nothing to save" in room.answers[0]
    assert not room.recorder._shelf.folder.exists()


def test_a_take_that_was_asked_for_is_written_before_the_end(room):
    room.pass_time(2.0)
    room.ask()
    room.recorder.close()
    assert room.answers == [""]
    assert not room.ask()


def test_more_requests_than_can_wait_are_refused(room):
    room.pass_time(1.0)
    taken = [room.ask() for _ in range(2 * REQUESTS)]
    assert REQUESTS <= sum(taken) < 2 * REQUESTS
    room.recorder.close()
    wait_for(lambda: len(room.answers) == sum(taken), 10)


def test_a_folder_that_cannot_be_written_is_told_and_the_next_take_is_saved(tmp_path, opened, caplog):
    (tmp_path / "takes").write_text("a file is in the way")
    room = Room(tmp_path / "takes")
    opened.append(room.recorder)
    room.pass_time(1.0)
    room.ask()
    room.pass_time(1.0)
    wait_for(lambda: room.answers)
    assert room.answers[0].startswith(f"cannot save a take in {tmp_path}/takes: ")
    assert "no take is saved: cannot" in caplog.text
    (tmp_path / "takes").unlink()
    room.ask()
    room.pass_time(1.0)
    wait_for(lambda: len(room.answers) == 2)
    assert room.answers[1] == ""


def test_what_comes_too_fast_is_left_out_counted_and_silent(room):
    with room.recorder._keeper._hearing:  # the thread that takes it in stands still
        for _ in range(2 * WAITING):
            room.recorder.hear(AudioBlock(np.full(16, 0.25, np.float32), RATE, room.sample, room.now_ns))
            room.sample += 16
        lost = room.recorder.dropped["take_sound"]
    wait_for(lambda: not len(room.recorder._keeper._heard))
    assert WAITING - 1 <= lost <= WAITING
    room.pass_time(1.0)
    room.ask()
    room.pass_time(1.0)
    wait_for(lambda: room.answers)
    path = room.recorder._shelf.folder / room.controls.saved.name / f"{room.controls.saved.name}.flac"
    samples, _ = soundfile.read(path, dtype="int16")
    assert len(samples) == 2 * WAITING * 16 + RATE
    assert np.count_nonzero(samples == 0) == lost * 16


def test_the_music_never_waits_for_the_recorder(tmp_path, opened):
    """All threads of the recorder stand still; what they would have to take in is left out and counted."""
    room = Room(tmp_path)
    opened.append(room.recorder)
    with room.recorder._keeper._hearing, room.recorder._keeper._seeing:
        for number in range(2 * WAITING):
            room.recorder.hear(AudioBlock(np.zeros(16, np.float32), RATE, 16 * number, number * MILLISECOND))
            room.recorder.see(VideoFrame(np.zeros((2, 2), np.uint8), number * SECOND, 0, number))
            room.player.play(onset(number % 88, number))
        assert room.recorder.dropped["take_sound"] >= 3 * WAITING - 1
        assert room.recorder.dropped["take_frames"] >= 2 * WAITING - 10


def test_a_fault_in_the_pictures_costs_the_pictures_alone(tmp_path, opened, monkeypatch, caplog):
    monkeypatch.setattr(PictureRing, "push", lambda self, frame: 1 / 0)
    room = Room(tmp_path)
    opened.append(room.recorder)
    keeper = room.recorder._keeper
    room.recorder.see(VideoFrame(np.zeros((8, 8), np.uint8), 0, 0, 0))
    wait_for(lambda: keeper._watcher.failure is not None and "the music goes on" in caplog.text)
    room.pass_time(1.0, picture=np.zeros((8, 8), np.uint8))
    room.ask()
    room.pass_time(1.0)
    wait_for(lambda: room.answers)
    assert room.answers == [""]
    assert [name[-4:] for name in room.controls.saved.files] == [".mid", "flac"]


def test_a_fault_in_the_sound_is_told_to_who_asks(tmp_path, opened, monkeypatch, caplog):
    monkeypatch.setattr(SoundRing, "push", lambda self, block: 1 / 0)
    room = Room(tmp_path)
    opened.append(room.recorder)
    room.recorder.hear(AudioBlock(np.zeros(160, np.float32), RATE, 0, 0))
    wait_for(lambda: "the music goes on" in caplog.text)
    room.ask()
    wait_for(lambda: room.answers)
    assert "the recorder has failed" in room.answers[0]
    assert entries(tmp_path) == []


def test_a_film_begins_with_the_sound_and_has_it(tmp_path, opened):
    room = Room(tmp_path, video_fps=10)
    opened.append(room.recorder)
    grey = np.full((120, 160), 90, np.uint8)
    for _ in range(10):
        room.pass_time(0.5, picture=grey)
    room.ask()
    room.pass_time(1.0, picture=grey)
    wait_for(lambda: room.answers)
    saved = room.controls.saved
    assert len(saved.files) == 3
    with av.open(str(tmp_path / saved.name / f"{saved.name}.mp4")) as film:
        times = [float(frame.time) for frame in film.decode(video=0)]
    with av.open(str(tmp_path / saved.name / f"{saved.name}.mp4")) as film:
        heard = sum(frame.samples for frame in film.decode(audio=0))
    assert times[0] == pytest.approx(0.03, abs=0.001)  # when the first picture was seen
    assert np.diff(times) == pytest.approx(0.1, abs=0.035)
    assert times[-1] <= 5.0
    assert heard == pytest.approx(5 * RATE, abs=2048)


def test_a_film_that_begins_amid_others_begins_with_its_sound_too(tmp_path, opened):
    room = Room(tmp_path, video_fps=10)
    opened.append(room.recorder)
    for second in range(10):
        room.pass_time(0.5, picture=np.full((120, 160), 40 + 20 * second, np.uint8))
    room.ask("0.055")  # 3.3 s: from 1.7 s on
    room.pass_time(0.6)
    wait_for(lambda: room.answers)
    with av.open(str(tmp_path / room.controls.saved.name / f"{room.controls.saved.name}.mp4")) as film:
        shown = [(float(frame.time), frame.to_ndarray()[60, 80]) for frame in film.decode(video=0)]
    assert shown[0][0] < 0.12
    assert len(shown) == pytest.approx(33, abs=2)
    for time, grey in shown:
        assert int(grey) == pytest.approx(40 + 20 * int((time + 1.695) / 0.5), abs=4)


def test_pictures_are_taken_at_the_rate_that_was_asked_for(tmp_path, opened):
    for fps, camera in ((15, 60), (15, 30), (15, 10), (30, 30)):
        recorder = Recorder(RecorderSection(folder=str(tmp_path), video_fps=fps))
        opened.append(recorder)
        taken = []
        recorder._keeper._seen.put = taken.append
        jitter = np.random.default_rng(2).integers(-MILLISECOND, MILLISECOND, 10 * camera)
        for number in range(10 * camera):
            t_ns = SECOND + number * SECOND // camera + int(jitter[number])
            recorder.see(VideoFrame(np.zeros((2, 2), np.uint8), t_ns, 0, number))
        assert len(taken) == pytest.approx(10 * min(fps, camera), abs=2), (fps, camera)
