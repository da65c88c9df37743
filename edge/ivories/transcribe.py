"""A recording through exactly the appliance's stages: sound, pictures or both, to notes.

Blocks and frames are pushed in the order of their times by one thread, so a result does not depend on the
speed of the machine. Paced (``realtime``) it takes as long as the recording and is otherwise the same.
"""

import heapq
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ivories import clock
from ivories.app import Application
from ivories.clock import MILLISECOND, SECOND, seconds
from ivories.datatypes import AudioBlock, KeyEvidence, NoteEvent, VideoFrame
from ivories.errors import CalibrationError, SourceError
from ivories.instrument import Instrument
from ivories.media import Media
from ivories.sinks.base import Sink
from ivories.sources.base import AudioSource, VideoSource
from ivories.sources.sound_file import SoundFileSource
from ivories.sources.video_file import VideoFileSource
from ivories.survey import survey
from ivories.vision.calibration import Calibration

_log = logging.getLogger(__name__)

_SILENCE = 1e-4  # full scale: -80 dB, below any microphone's own noise
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """What to transcribe; sound and pictures share one clock that starts at 0."""

    audio: Media | None = None
    video: Media | None = None
    calibration: Calibration | None = None

    @property
    def duration_s(self) -> float:
        """Length of the longer part."""
        return max((m.duration_s for m in (self.audio, self.video) if m is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class Transcript:
    events: list[NoteEvent]
    media_s: float
    """Length of the material that went through"""
    calibration: Calibration | None
    """Where the keyboard is, when there were pictures"""


def prepare(recording: Recording) -> Recording:
    """Find the keyboard in the pictures, if there are any and no calibration is given.

    Pictures without a keyboard are left out with a warning when there is sound to go by.

    Raises:
        CalibrationError: there is nothing but pictures, and no keyboard in them.
    """
    if recording.video is None or recording.calibration is not None:
        return recording
    try:
        return replace(recording, calibration=survey(recording.video.path))
    except CalibrationError as error:
        if recording.audio is None:
            raise
        _log.warning("%s; going by sound alone", error)
        return replace(recording, video=None)


def transcribe(
    app: Application,
    recording: Recording,
    sinks: list[Sink],
    *,
    realtime: bool = False,
    progress: Progress = lambda _: None,
) -> Transcript:
    """Stream ``recording`` (prepared) through the stages into ``sinks``.

    Args:
        app: with the networks loaded that the recording needs.
        recording: see ``prepare``.
        sinks: closed when this returns, released and closed when it raises.
        realtime: pace by the clock.
        progress: called with the seconds done, a few times per second of material.

    Raises:
        SourceError: a file cannot be read, or the sound is silent and there are no pictures.
        SinkError: a sink could not complete its work.
    """
    instrument = app.instrument(sinks, recording.calibration)
    try:
        transcript = _stream(app, recording, instrument, realtime=realtime, progress=progress)
        ending = instrument.finish()
        if instrument.measured_skew_ns is not None:
            _log.info("audio-video skew: %+.1f ms", instrument.measured_skew_ns / MILLISECOND)
    except BaseException:
        instrument.abandon()
        raise
    return replace(transcript, events=transcript.events + ending)


def _stream(
    app: Application, recording: Recording, instrument: Instrument, *, realtime: bool, progress: Progress
) -> Transcript:
    audio = SoundFileSource(recording.audio.path) if recording.audio else None
    video = VideoFileSource(recording.video.path) if recording.video else None
    audio_path = app.audio_path(audio.rate) if audio else None
    video_path = app.video_path(recording.calibration) if video else None

    def evidence_of(item: AudioBlock | VideoFrame) -> list[KeyEvidence]:
        if isinstance(item, AudioBlock):
            return audio_path.push(item) if audio_path else []
        return video_path.push(item) if video_path else []

    events: list[NoteEvent] = []
    loudest = 0.0
    start_ns = end_ns = None
    epoch_ns = clock.now_ns()
    try:
        for item in _in_order(audio, video):
            if realtime:
                time.sleep(max(0.0, seconds(epoch_ns + _delivery_ns(item) - clock.now_ns())))
            if isinstance(item, AudioBlock):
                loudest = max(loudest, float(abs(item.samples).max(initial=0.0)))
            for evidence in evidence_of(item):
                events += instrument.push(evidence)
            start_ns = item.t_ns if start_ns is None else start_ns
            end_ns = _delivery_ns(item)
            progress(seconds(end_ns - start_ns))
    finally:
        for source in (audio, video):
            if source is not None:
                source.close()
    if start_ns is None or end_ns is None:
        raise SourceError(f"{_names(recording)}: no sound and no pictures could be decoded")
    if video is None and loudest < _SILENCE:
        raise SourceError(f"{_names(recording)} is silent (below -80 dB full scale): nothing to transcribe")
    return Transcript(events, seconds(end_ns - start_ns), recording.calibration)


def _in_order(audio: AudioSource | None, video: VideoSource | None) -> Iterator[AudioBlock | VideoFrame]:
    """Merge both sources by the time at which a live sensor would have delivered each item."""
    streams: list[Iterator[AudioBlock | VideoFrame]] = [iter(s) for s in (audio, video) if s is not None]
    return heapq.merge(*streams, key=_delivery_ns)


def _delivery_ns(item: AudioBlock | VideoFrame) -> int:
    return item.t_ns + len(item.samples) * SECOND // item.rate if isinstance(item, AudioBlock) else item.t_ns


def _names(recording: Recording) -> str:
    return " and ".join(sorted({str(m.path) for m in (recording.audio, recording.video) if m is not None}))
