"""The instrument while it plays: sensors in threads of their own, notes out of the main thread.

ears:  sound source -> AudioPath -> evidence mailbox
eyes:  camera -> newest-frame mailbox;  sight: newest frame -> VideoPath -> evidence mailbox
main:  evidence mailbox -> fusion, tracker, sinks

A sensor that is missing or lost is tried again every second while the other goes on. Any other failure
releases every key on every sink and ends the program, so that its supervisor starts it afresh.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from ivories.app import Application
from ivories.clock import now_ns
from ivories.datatypes import AudioBlock, KeyEvidence, Origin, VideoFrame
from ivories.errors import BackendError, SourceError
from ivories.fusion.touch import TouchScale
from ivories.instrument import Instrument
from ivories.recorder.recorder import Recorder
from ivories.runtime.mailbox import Mailbox, Overflow
from ivories.runtime.notify import NOTES, Supervision
from ivories.runtime.priority import step_behind
from ivories.runtime.timing import StageTimes
from ivories.runtime.worker import Pushable, Worker
from ivories.sources.base import AudioSource, Exposing, VideoSource
from ivories.vision.calibration import Calibration

if TYPE_CHECKING:
    from ivories.video_path import VideoPath  # whoever only hears does without

_log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0
_WAIT_S: Final = 0.05  # without evidence: how soon a stop request is seen; how often the loop beats
_EVIDENCE_KEPT: Final = 64

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Carried(Generic[Item]):
    """What waits in a mailbox, with the moments of its way there, CLOCK_MONOTONIC nanoseconds."""

    item: Item
    taken_ns: int
    """When its thread got what it is made of"""
    put_ns: int
    """When it was put into the mailbox"""


class Live:
    """The running instrument.

    Args:
        app: with the networks loaded.
        instrument: what stands behind them.
        microphone: opens the source of sound; None when it is switched off.
        camera: the same for pictures.
        calibration: where the keyboard is; None to search for it.
        keep: called with every position found.
        keep_skew: called often with the time between eyes and ears, None while unknown; must be quick.
        recorder: keeps what is heard and seen; None for nothing of it.
        keep_touch: called often with a function that tells the scale of velocities, None while unknown; must
            be quick, which asking that function every time is not.
    """

    def __init__(
        self,
        app: Application,
        instrument: Instrument,
        microphone: Callable[[], AudioSource] | None,
        camera: Callable[[], VideoSource] | None,
        calibration: Calibration | None = None,
        keep: Callable[[Calibration], None] = lambda _: None,
        keep_skew: Callable[[int | None], None] = lambda _: None,
        recorder: Recorder | None = None,
        keep_touch: Callable[[Callable[[], TouchScale | None]], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._instrument = instrument
        instrument.controls.lost = lambda: self.dropped
        self._calibration = calibration
        self._keep = keep
        self._keep_skew = keep_skew
        self._recorder = recorder
        self._keep_touch = keep_touch
        self._sight: VideoPath | None = None
        self.passage = StageTimes()
        """How long evidence took to and between the threads, by ``ORIGIN: STEP``"""
        self.passing: Origin | None = None
        """Whose evidence the main thread works on"""
        self._evidence: Mailbox[Carried[KeyEvidence]] = Mailbox(
            "evidence", _EVIDENCE_KEPT, Overflow.KEEP_LATEST
        )
        self._frames: Mailbox[Carried[VideoFrame]] = Mailbox("frames", 1, Overflow.KEEP_LATEST)
        self._stop = threading.Event()
        opened = {"microphone": microphone, "camera": camera}
        self._supervision = Supervision(name for name, sensor in opened.items() if sensor is not None)
        self._sources: dict[str, Any] = {}
        self._workers: list[Worker] = []
        if microphone is not None:
            self._add("ears", lambda: self._sense("microphone", microphone, self._hear))
        if camera is not None:
            self._add("eyes", lambda: self._sense("camera", camera, self._look), self._frames.close)
            self._add("sight", self._see)

    def run(self) -> None:
        """Play until ``stop`` is called or every source has ended; raises what made a thread fail."""
        for worker in self._workers:
            worker.start()
        try:
            while not self._stop.is_set():
                carried = self._evidence.get(timeout=_WAIT_S)
                self._check()
                self._supervision.progress(NOTES)
                for name, source in list(self._sources.items()):
                    self._supervision.look_at(name, source)
                self._instrument.beat()
                if carried is not None:
                    self._decide(carried)
                elif not any(worker.alive for worker in self._workers):
                    break
            self._check()
            self._instrument.finish()
        except BaseException:
            self._instrument.abandon()
            raise
        finally:
            self._end()

    def stop(self) -> None:
        """End ``run`` soon; may be called from any thread and from a signal handler."""
        self._stop.set()

    @property
    def dropped(self) -> dict[str, int]:
        """What a thread could not keep up with, by mailbox: frames and evidence that nobody looked at."""
        dropped = {box.name: box.dropped for box in (self._frames, self._evidence)}
        return dropped if self._recorder is None else dropped | self._recorder.dropped

    def _decide(self, carried: Carried[KeyEvidence]) -> None:
        evidence = carried.item
        self.passing = evidence.origin
        self.passage.add(f"{evidence.origin}: waits for fusion", now_ns() - carried.put_ns)
        self.passage.add(f"{evidence.origin}: front end and network", carried.put_ns - carried.taken_ns)
        self._instrument.push(evidence)
        self._keep_skew(self._instrument.measured_skew_ns)
        self._keep_touch(lambda: self._instrument.touch)

    def _check(self) -> None:
        for worker in self._workers:
            worker.check()

    def _end(self) -> None:
        self._stop.set()
        self._supervision.stopping()
        for source in list(self._sources.values()):
            source.close()
        self._frames.close()
        self._evidence.close()
        for worker in self._workers:
            worker.join(timeout=2.0)

    def _add(self, name: str, work: Callable[[], None], after: Callable[[], None] = lambda: None) -> None:
        def ended(worker: Worker) -> None:
            after()
            if worker.failure is not None:
                _log.error("the %s thread failed", name, exc_info=worker.failure)

        self._workers.append(Worker(name, work, ended))

    def _sense(self, name: str, open_source: Callable[[], Any], consume: Callable[[Any], None]) -> None:
        """Open a sensor and use it until it ends; one that is missing or breaks is opened again."""
        told = ""
        while not self._stop.is_set():
            try:
                source = open_source()
                self._sources[name] = source
                _log.info("%s: %r", name, source)
                told = ""
                consume(source)
            except (SourceError, BackendError) as error:
                self._supervision.waiting(name, str(error))
                if str(error) != told:
                    _log.warning("%s: %s; trying again every %.0f s", name, error, _RETRY_S)
                    told = str(error)
            else:
                return
            finally:
                source = self._sources.pop(name, None)
                if source is not None:
                    source.close()
            self._stop.wait(_RETRY_S)

    def _hear(self, source: AudioSource) -> None:
        blocks: Iterable[AudioBlock] = self._supervision.watched("microphone", source)
        if self._recorder is not None:
            blocks = _passed_on(blocks, self._recorder.hear)
        self._pump(blocks, self._app.audio_path(source.rate), "capture")

    def _look(self, source: VideoSource) -> None:
        if isinstance(source, Exposing) and self._sight is not None and self._sight.stops:
            source.correct_exposure(self._sight.stops)  # as the one before it was
        for frame in source:
            arrived_ns = now_ns()
            self.passage.add(f"{Origin.VIDEO}: capture", arrived_ns - frame.t_ns)
            self._frames.put(Carried(frame, arrived_ns, arrived_ns))
            if self._recorder is not None:
                self._recorder.see(frame)

    def _see(self) -> None:
        step_behind()  # where ears and eyes share a core, the ears go first
        frames = (carried.item for carried in self._supervision.watched("camera", self._waiting_frames()))
        self._sight = self._app.video_path(self._calibration, self._found, self._correct_exposure)
        self._pump(frames, self._sight)

    def _waiting_frames(self) -> Iterable[Carried[VideoFrame]]:
        for carried in self._frames:
            self.passage.add(f"{Origin.VIDEO}: waits for the network", now_ns() - carried.put_ns)
            yield carried

    def _correct_exposure(self, stops: float) -> bool:
        source = self._sources.get("camera")
        if source is None:  # it is asked when it is back
            return True
        return isinstance(source, Exposing) and source.correct_exposure(stops)

    def _found(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._keep(calibration)

    def _pump(self, items: Iterable[Item], path: Pushable[Item, KeyEvidence], arrival: str = "") -> None:
        """Push ``items`` through ``path`` into the evidence mailbox; ``arrival``: enter their age as this."""
        for item in items:
            taken_ns = now_ns()
            for evidence in path.push(item):
                if arrival:
                    self.passage.add(f"{evidence.origin}: {arrival}", taken_ns - evidence.t_ns)
                self._evidence.put(Carried(evidence, taken_ns, now_ns()))
            if self._evidence.closed:
                return


def _passed_on(items: Iterable[Item], take: Callable[[Item], None]) -> Iterator[Item]:
    """Yield ``items``; give each to ``take`` when its consumer, who goes first, comes for the next."""
    for item in items:
        yield item
        take(item)
