"""``ivories demo``: the bundled take through the whole appliance, with everything a user would look at."""

import contextlib
import logging
import signal
from pathlib import Path
from time import perf_counter
from typing import Final

from rich.console import Console

from ivories.app import Application
from ivories.clock import SECOND, now_ns
from ivories.config import Config
from ivories.errors import BackendError, ConfigError
from ivories.live import Live
from ivories.media import probe
from ivories.notes import matched_pairs, read_notes
from ivories.outputs import mqtt_options, terminal
from ivories.replay import ReplayedPictures, ReplayedSound, decode
from ivories.report import decision_delays, notes_of_events, score_table, stage_table
from ivories.resources import bundled_take
from ivories.scoring import score_notes
from ivories.sinks.base import Sink
from ivories.sinks.jsonl import JsonLinesSink
from ivories.sinks.midi_file import MidiFileSink
from ivories.sinks.mqtt.embedded_broker import EmbeddedBroker, start_broker
from ivories.sinks.mqtt.sink import MqttSink
from ivories.transcribe import Recording, prepare, transcribe

_log = logging.getLogger(__name__)

_LEAD_NS: Final = SECOND  # from here to the first sample: threads start meanwhile
# Beside the package in a checkout; an installed package comes without it.
_PAGE: Final = Path(__file__).parents[2] / "deploy/dashboards/piano.html"


def run(config: Config, folder: Path, *, fast: bool, console: Console) -> None:
    """Play the take, write ``demo.mid`` and ``demo.jsonl`` into ``folder``, print score and times.

    Args:
        config: the broker in it is used; without one, an own broker runs for the time of the demo.
        folder: made if it is not there.
        fast: as fast as possible and without the live view.
        console: where the tables go.
    """
    take = bundled_take()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder {folder} cannot be made: {error.strerror}") from error
    recording = _recording(take, console)
    app = Application(config)
    with contextlib.ExitStack() as stack:
        stack.callback(app.close)
        sinks: list[Sink] = [
            MidiFileSink(path=folder / "demo.mid"),
            JsonLinesSink(path=folder / "demo.jsonl"),
        ]
        if not fast:
            sinks.append(terminal())
        sinks += _broker_sink(app, stack, console)
        start = perf_counter()
        transcript = transcribe(app, recording, sinks, realtime=not fast)
        wall_s = perf_counter() - start
    truth, notes = read_notes(take.with_suffix(".mid")), notes_of_events(transcript.events)
    console.print(f"Wrote {folder / 'demo.mid'} and {folder / 'demo.jsonl'}.")
    try:
        console.print(score_table(score_notes(truth, notes), decision_delays(truth, notes)))
    except ConfigError as error:
        found = len(matched_pairs(truth, notes))
        console.print(f"{found} of {len(truth)} notes found; {error}", markup=False)
    console.print(stage_table(app.times, transcript.media_s, wall_s))


def repeat(config: Config, console: Console) -> None:
    """Play the take over and over, as camera and microphone would deliver it, until SIGINT or SIGTERM.

    Args:
        config: the broker in it is used; without one, an own broker runs meanwhile.
        console: where the words go; the music goes to the terminal and to the broker.
    """
    take = bundled_take()
    recording = _recording(take, console)
    material = decode(take, take, block_ms=config.audio.period_ms)
    app = Application(config)
    with contextlib.ExitStack() as stack:
        stack.callback(app.close)
        broker = _broker_sink(app, stack, console)
        start_ns = now_ns() + _LEAD_NS
        live = Live(
            app,
            app.instrument([terminal(origin_ns=start_ns), *broker], recording.calibration),
            lambda: ReplayedSound(material, None, realtime=True, epoch_ns=start_ns),
            lambda: ReplayedPictures(material, None, realtime=True, epoch_ns=start_ns),
            recording.calibration,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: live.stop())
        live.run()


def _recording(take: Path, console: Console) -> Recording:
    media = probe(take)
    console.print(f"Looking for the keyboard in {take.name} ...")
    recording = prepare(Recording(audio=media, video=media))
    if recording.calibration is not None:
        console.print(f"Found, quality {recording.calibration.quality:.2f}.")
    return recording


def _broker_sink(app: Application, stack: contextlib.ExitStack, console: Console) -> list[Sink]:
    """Publish to the configured broker, else to one that lives as long as the demo."""
    mqtt = app.config.mqtt
    options = mqtt_options(app.config, app.models)
    host, port = mqtt.host, mqtt.port
    if not host:
        try:
            broker = stack.enter_context(_own_broker())
        except BackendError as error:
            console.print(f"No MQTT: {error}")
            return []
        host, port = broker.host, broker.port
        options["protocol"] = broker.protocol
        topics = f"{mqtt.prefix}/{options['device']}/#"
        console.print(f"Publishing to {broker.which} on {host}:{port}, topics {topics}")
        if broker.websockets and _PAGE.is_file():
            address = f"{_PAGE.as_uri()}?broker=ws://{host}:{broker.websockets}"
            console.print(f"Watch it in a browser: {address}", soft_wrap=True)
    return [MqttSink(host=host, port=port, **options)]


def _own_broker() -> EmbeddedBroker:
    """Start a broker, with a port for pages in the browser where its build can."""
    try:
        return start_broker(websockets=0)
    except BackendError:
        return start_broker()
