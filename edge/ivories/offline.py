"""``ivories transcribe``: from what the user named to a MIDI file and a summary."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from rich.console import Console

from ivories.app import Application
from ivories.config import Config
from ivories.errors import ConfigError
from ivories.media import Media, probe
from ivories.notes import read_notes
from ivories.report import decision_delays, notes_of_events, score_table
from ivories.scoring import require, score_notes
from ivories.sinks.base import Sink
from ivories.sinks.jsonl import JsonLinesSink
from ivories.sinks.midi_file import MidiFileSink
from ivories.survey import calibration_from
from ivories.transcribe import Recording, Transcript, prepare, transcribe


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line said."""

    inputs: tuple[Path, ...] = ()
    audio: Path | None = None
    video: Path | None = None
    audio_only: bool = False
    video_only: bool = False
    corners: str | None = None
    calibration: Path | None = None
    output: Path | None = None
    events: Path | None = None
    truth: Path | None = None
    realtime: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    transcript: Transcript
    output: Path
    wall_s: float
    truth: Path | None

    def print(self, console: Console) -> None:
        """Tell what was written, and the score when a truth was given."""
        found = notes_of_events(self.transcript.events)
        speed = self.transcript.media_s / max(self.wall_s, 1e-9)
        console.print(
            f"{len(found)} notes in {self.transcript.media_s:.1f} s -> {self.output} "
            f"({self.wall_s:.1f} s, {speed:.1f}x real time)"
        )
        if self.truth is not None:
            truth = read_notes(self.truth)
            console.print(score_table(score_notes(truth, found), decision_delays(truth, found)))


def run(config: Config, request: Request, progress: Callable[[float, float], None]) -> Result:
    """Do what ``request`` asks; ``progress`` is called with (seconds done, seconds in all).

    Raises:
        ConfigError: the request contradicts itself.
        IvoriesError: something failed while running; nothing half-written is left.
    """
    recording = choose(request)
    output = request.output or _beside(_first_path(recording))
    _check_outputs(recording, output, request)
    if request.truth is not None:
        require()
        read_notes(request.truth)  # a wrong truth is told before the work, not after
    recording = prepare(recording)
    app = Application(config, audio=recording.audio is not None, video=recording.video is not None)
    sinks: list[Sink] = [MidiFileSink(path=output)]
    if request.events is not None:
        sinks.append(JsonLinesSink(path=request.events))
    start = perf_counter()
    try:
        transcript = transcribe(
            app, recording, sinks, realtime=request.realtime,
            progress=lambda done: progress(done, recording.duration_s),
        )  # fmt: skip
    finally:
        app.close()
    return Result(transcript, output, perf_counter() - start, request.truth)


def _check_outputs(recording: Recording, output: Path, request: Request) -> None:
    """Refuse, before the work, to write where it cannot be written or onto what is needed."""
    taken = {media.path.resolve(): "the recording" for media in (recording.audio, recording.video) if media}
    if request.truth is not None:
        taken[request.truth.resolve()] = "the truth"
    for path, what in ((output, "the notes"), (request.events, "the events")):
        if path is None:
            continue
        if path.is_dir():
            raise ConfigError(f"cannot write {what} to {path}: it is a folder; name a file")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"there is no folder {path.absolute().parent} to write {path.name} into")
        if path.resolve() in taken:
            raise ConfigError(
                f"{path} would hold {what}, but holds {taken[path.resolve()]}: use another name"
            )
        taken[path.resolve()] = what


def _beside(source: Path) -> Path:
    """Return the name that the transcription gets by default, unless a file of the user's has it."""
    output = source.with_suffix(".mid")
    if output.exists():
        raise ConfigError(f"{output} is there already: name the file to write with -o (it may be that one)")
    return output


def choose(request: Request) -> Recording:
    """Decide which file gives sound and which gives pictures.

    Raises:
        ConfigError: nothing named, too much named, or options that exclude each other.
        SourceError: a file cannot be read or holds not what is asked of it.
    """
    if request.audio_only and request.video_only:
        raise ConfigError("--audio-only and --video-only exclude each other")
    recording = Recording()
    for media in map(probe, request.inputs):
        recording = _add(recording, media, request)
    if request.audio is not None:
        recording = replace(recording, audio=_holding("audio", probe(request.audio)))
    if request.video is not None:
        recording = replace(recording, video=_holding("video", probe(request.video)))
    if request.audio_only:
        recording = replace(recording, video=None)
    if request.video_only:
        recording = replace(recording, audio=None)
    if recording.audio is None and recording.video is None:
        if request.inputs or request.audio or request.video:
            raise ConfigError("what is left of the input is neither sound nor pictures: check the options")
        raise ConfigError("name a sound file, a video file, or one of each")
    if request.corners is not None or request.calibration is not None:
        if recording.video is None:
            option = "--corners" if request.corners is not None else "--calibration"
            raise ConfigError(f"{option} tells where the keyboard is in the pictures, but only sound is left")
        calibration = calibration_from(request.corners, request.calibration, recording.video.path)
        recording = replace(recording, calibration=calibration)
    return recording


def _add(recording: Recording, media: Media, request: Request) -> Recording:
    takes_audio = media.audio and request.audio is None and not request.video_only
    takes_video = media.video and request.video is None and not request.audio_only
    heard = recording.audio
    if takes_audio and heard is not None:
        if heard.video == media.video:
            raise ConfigError(f"both {heard.path} and {media.path} give sound: name one with --audio")
        takes_audio = heard.video  # of a sound file and a video file, the sound file gives the sound
    if takes_video and recording.video is not None:
        raise ConfigError(
            f"both {recording.video.path} and {media.path} give pictures: name one with --video"
        )
    if takes_audio:
        recording = replace(recording, audio=media)
    if takes_video:
        recording = replace(recording, video=media)
    return recording


def _holding(kind: str, media: Media) -> Media:
    if not getattr(media, kind):
        raise ConfigError(f"{media.path} holds no {'sound' if kind == 'audio' else 'pictures'}")
    return media


def _first_path(recording: Recording) -> Path:
    media = recording.video or recording.audio
    assert media is not None  # noqa: S101 - choose() refuses an empty recording
    return media.path
