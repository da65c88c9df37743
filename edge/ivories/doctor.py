"""``ivories doctor``: what works on this machine, what does not, and what to do about it."""

import contextlib
import errno
import os
import platform
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ivories import native
from ivories.app import Application
from ivories.clock import MILLISECOND
from ivories.config import Config
from ivories.devices import list_microphones
from ivories.errors import BackendError, ConfigError, IvoriesError, SinkError
from ivories.recorder.shelf import Shelf
from ivories.sensor_check import NothingSensedError, SensorInUseError, hear, look
from ivories.sinks.mqtt.access import read_password, tls_context, topic_base
from ivories.sinks.rawmidi import find_gadget
from ivories.sinks.rtp.ports import Ports
from ivories.vision import calibration as calibrations


class Verdict(StrEnum):
    OK = "ok"
    ABSENT = "absent"
    """Not there, and not needed for the rest"""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    verdict: Verdict
    detail: str


def run(config: Config, console: Console) -> int:
    """Print all findings; return 1 when something is wrong, else 0."""
    table = Table(title=f"ivories doctor: {platform.node()}, {platform.machine()}", title_justify="left")
    for column in ("subject", "", "what was found, what to do"):
        table.add_column(column, overflow="fold")
    colours = {Verdict.OK: "green", Verdict.ABSENT: "yellow", Verdict.WRONG: "bold red"}
    wrong = 0
    for finding in examine(config):
        wrong += finding.verdict is Verdict.WRONG
        table.add_row(
            finding.subject,
            f"[{colours[finding.verdict]}]{finding.verdict}[/]",
            finding.detail.replace("[", r"\["),
        )
    console.print(table)
    return 1 if wrong else 0


def examine(config: Config) -> Iterator[Finding]:
    """Yield one finding per part of the instrument."""
    yield Finding("Python, C path", Verdict.OK, f"{platform.python_version()}, {native.simd()}")
    yield from _networks(config)
    yield _wanted("microphone", config.audio.source, lambda: _microphone(config))
    yield _wanted("camera", config.video.source, lambda: _camera(config))
    yield _calibration(config)
    if config.audio.source != "off" and config.video.source != "off":
        yield _skew(config)
    yield _wanted("USB-MIDI gadget", config.usb_midi.enabled, lambda: _gadget(config.usb_midi.device))
    yield _wanted("ALSA sequencer", config.alsa_seq.enabled, _sequencer)
    yield _network_midi(config)
    yield _broker(config)
    yield _takes(config)
    yield _priority(config)
    yield _locked_memory(config)


def _networks(config: Config) -> Iterator[Finding]:
    for kind in ("audio", "video"):
        try:
            app = Application(config, audio=kind == "audio", video=kind == "video")
        except IvoriesError as error:
            yield Finding(f"{kind} network", Verdict.WRONG, str(error))
            continue
        network = app.audio or app.video
        assert network is not None  # noqa: S101 - one of the two was just loaded
        network.runtime.run({n: np.zeros(t.shape, np.int8) for n, t in network.runtime.inputs.items()})
        yield Finding(
            f"{kind} network", Verdict.OK,
            f"{network.manifest.name}, {network.manifest.parameters} parameters, "
            f"{network.runtime.description}",
        )  # fmt: skip
        app.close()


def _wanted(subject: str, setting: str, probe: Callable[[], str]) -> Finding:
    """Run ``probe``; its failure is wrong only when the configuration names the part."""
    if setting == "off":
        return Finding(subject, Verdict.ABSENT, "switched off in the configuration")
    try:
        return Finding(subject, Verdict.OK, probe())
    except SensorInUseError as held:
        return Finding(subject, Verdict.OK if held.by_ivories else Verdict.ABSENT, str(held))
    except NothingSensedError as idle:
        return Finding(subject, Verdict.ABSENT, str(idle))
    except (IvoriesError, OSError) as error:
        return Finding(subject, Verdict.ABSENT if setting == "auto" else Verdict.WRONG, str(error))


def _microphone(config: Config) -> str:
    if config.audio.source in {"auto", "alsa"} and not list_microphones():
        raise BackendError("no ALSA capture device: plug in a USB microphone, then see `ivories devices`")
    return hear(config)


def _camera(config: Config) -> str:
    if config.video.source in {"auto", "picamera2", "v4l2"} and not any(Path("/dev").glob("video*")):
        raise BackendError("no camera: check the cable (Pi camera: `rpicam-hello --list-cameras`)")
    return look(config)


def _calibration(config: Config) -> Finding:
    path = Path(config.video.calibration)
    if not path.exists():
        return Finding(
            "keyboard position", Verdict.ABSENT, f"no {path}: searched for at start; `ivories setup` keeps it"
        )
    try:
        found = calibrations.load(path)
    except IvoriesError as error:
        return Finding("keyboard position", Verdict.WRONG, str(error))
    detail = f"{path}, {found.width}x{found.height}, quality {found.quality:.2f}"
    return Finding("keyboard position", Verdict.OK, detail)


def _skew(config: Config) -> Finding:
    """Tell how far the clocks of eyes and ears are apart; another finding tells of a file that is unfit."""
    path = Path(config.video.calibration)
    skew_ns = 0
    if path.exists():
        with contextlib.suppress(IvoriesError):
            skew_ns = calibrations.load(path).audio_video_skew_ns
    if skew_ns == 0:
        return Finding(
            "eye-ear skew", Verdict.ABSENT,
            "not measured yet: `ivories run` does it within some tens of notes and keeps it with the "
            "keyboard's position",
        )  # fmt: skip
    late = "the camera tells late" if skew_ns < 0 else "the microphone tells late"
    return Finding("eye-ear skew", Verdict.OK, f"{skew_ns / MILLISECOND:+.1f} ms ({late}), made up for")


def _gadget(device: str) -> str:
    if device != "auto":
        if not os.access(device, os.W_OK):
            raise BackendError(
                f"usb_midi.device = {device} is not there or may not be written: `amidi -l` lists them"
            )
        return device
    node = find_gadget()
    if node is None:
        raise BackendError(
            "no gadget port: only on a Pi's USB-C socket, after the gadget service has started"
        )
    return str(node)


def _sequencer() -> str:
    if not Path("/dev/snd/seq").exists():
        raise BackendError("no /dev/snd/seq: `modprobe snd-seq` makes it")
    return "/dev/snd/seq"


def _network_midi(config: Config) -> Finding:
    rtp = config.rtp_midi
    if rtp.enabled == "off" or not (rtp.allow or rtp.invite):
        detail = "nobody is allowed or invited (rtp_midi.allow, rtp_midi.invite)"
        return Finding("RTP-MIDI", Verdict.ABSENT, detail)
    try:
        Ports(rtp.port).close()
    except SinkError as error:
        if error.errno != errno.EBUSY:
            return Finding("RTP-MIDI", Verdict.WRONG, str(error))
        detail = f"UDP ports {rtp.port} and {rtp.port + 1} are in use: by the service, if it runs"
        return Finding("RTP-MIDI", Verdict.OK, detail)
    who = [f"{', '.join(rtp.allow)} may open a session"] if rtp.allow else []
    who += [f"{', '.join(rtp.invite)} is invited"] if rtp.invite else []
    return Finding("RTP-MIDI", Verdict.OK, f"UDP ports {rtp.port} and {rtp.port + 1}: {'; '.join(who)}")


def _broker(config: Config) -> Finding:
    mqtt = config.mqtt
    if mqtt.enabled == "off" or not mqtt.host:
        return Finding("MQTT broker", Verdict.ABSENT, "none configured (mqtt.host)")
    try:
        topic_base(mqtt.prefix, config.device.name)
        read_password(mqtt.password_file)
        if mqtt.tls:
            tls_context(mqtt.ca_file, mqtt.cert_file, mqtt.key_file)
    except ConfigError as error:
        return Finding("MQTT broker", Verdict.WRONG, str(error))
    try:
        with socket.create_connection((mqtt.host, mqtt.port), timeout=3):
            return Finding("MQTT broker", Verdict.OK, f"{mqtt.host}:{mqtt.port} answers")
    except OSError as error:
        return Finding("MQTT broker", Verdict.WRONG, f"{mqtt.host}:{mqtt.port}: {error.strerror or error}")


def _takes(config: Config) -> Finding:
    recorder = config.recorder
    if not recorder.minutes:
        return Finding("takes", Verdict.ABSENT, "nothing is recorded (recorder.minutes = 0)")
    shelf = Shelf.of(recorder)
    if not shelf.folder.exists():
        return Finding("takes", Verdict.ABSENT, f"none yet; the first one makes {shelf.folder}")
    try:
        return Finding("takes", Verdict.OK, shelf.state())
    except SinkError as error:
        return Finding("takes", Verdict.WRONG, str(error))


def _priority(config: Config) -> Finding:
    wanted = config.runtime.realtime_priority
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    allowed = os.geteuid() == 0 or limit >= wanted
    if wanted == 0:
        return Finding("real-time priority", Verdict.OK, f"not asked for (limit {limit})")
    if allowed:
        return Finding("real-time priority", Verdict.OK, f"{wanted} of {limit}")
    return Finding(
        "real-time priority", Verdict.WRONG,
        f"{wanted} asked for, {limit} allowed: set LimitRTPRIO={wanted} in the service",
    )  # fmt: skip


def _locked_memory(config: Config) -> Finding:
    if not config.runtime.lock_memory:
        return Finding("locked memory", Verdict.OK, "not asked for")
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY or os.geteuid() == 0:
        return Finding("locked memory", Verdict.OK, "allowed")
    return Finding(
        "locked memory", Verdict.WRONG,
        f"asked for, but only {limit // 1024} KiB may be locked: set LimitMEMLOCK=infinity in the service",
    )  # fmt: skip
