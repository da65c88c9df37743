"""Configuration: one TOML file, every key typed, every mistake reported at once.

``deploy/ivories.toml`` holds every setting with its default, unit and purpose: it is the manual.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ivories.errors import ConfigError

Policy = Literal["earliest", "balanced", "surest"]
Dynamics = Literal["auto", "early", "faithful"]
Switch = Literal["auto", "on", "off"]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections."""


class DeviceSection(Section, frozen=True):
    name: str = "piano"


class AudioSection(Section, frozen=True):
    source: Literal["auto", "alsa", "file", "synthetic", "off"] = "auto"
    device: str = "default"
    period_ms: float = 5.0


class VideoSection(Section, frozen=True):
    source: Literal["auto", "picamera2", "v4l2", "file", "images", "synthetic", "off"] = "auto"
    device: str = "auto"
    width: int = 640
    height: int = 480
    fps: float = 60.0
    exposure: Literal["auto", "camera"] = "auto"
    calibration: str = "/var/lib/ivories/calibration.json"


class ModelsSection(Section, frozen=True):
    folder: str = ""
    audio: str = "audio"
    video: str = "video"
    runtime: Literal["auto", "litert", "edgetpu"] = "auto"
    threads: int = 1


class DecodingSection(Section, frozen=True):
    policy: Policy = "balanced"
    dynamics: Dynamics = "auto"
    refractory_ms: float = 60.0
    minimum_duration_ms: float = 30.0
    retract: bool = True
    pedal: bool = True
    key_prior: bool = False
    key_prior_window_sec: float = 3.0
    key_prior_beta: float = 4.0
    key_prior_rho_uniform: float = 0.8
    key_prior_lambda: float = 0.5


class UsbMidiSection(Section, frozen=True):
    enabled: Switch = "auto"
    device: str = "auto"
    active_sensing: bool = False


class AlsaSequencerSection(Section, frozen=True):
    enabled: Switch = "auto"
    port: str = "Ivories"


class RtpMidiSection(Section, frozen=True):
    enabled: Switch = "auto"
    allow: tuple[str, ...] = ()
    invite: tuple[str, ...] = ()
    port: int = 5004
    session: str = "Ivories"


class MqttSection(Section, frozen=True):
    enabled: Switch = "auto"
    host: str = ""
    port: int = 1883
    username: str = ""
    password_file: str = ""
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    prefix: str = "ivories"
    home_assistant: bool = True
    commands: bool = True


class RecorderSection(Section, frozen=True):
    minutes: float = 5.0
    folder: str = "/var/lib/ivories/takes"
    video: bool = True
    video_fps: float = 15.0
    limit_gb: float = 2.0
    prune: bool = False


class RuntimeSection(Section, frozen=True):
    realtime_priority: int = 0
    lock_memory: bool = False


class LogSection(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"


class Config(Section, frozen=True):
    """The whole configuration; attribute names are the TOML's table and key names."""

    device: DeviceSection = DeviceSection()
    audio: AudioSection = AudioSection()
    video: VideoSection = VideoSection()
    models: ModelsSection = ModelsSection()
    decoding: DecodingSection = DecodingSection()
    usb_midi: UsbMidiSection = UsbMidiSection()
    alsa_seq: AlsaSequencerSection = AlsaSequencerSection()
    rtp_midi: RtpMidiSection = RtpMidiSection()
    mqtt: MqttSection = MqttSection()
    recorder: RecorderSection = RecorderSection()
    runtime: RuntimeSection = RuntimeSection()
    log: LogSection = LogSection()


SYSTEM_PATH: Final = Path("/etc/ivories/ivories.toml")

# Beyond the type: (section, key) -> (smallest, largest, unit)
_RANGES: Final[dict[tuple[str, str], tuple[float, float, str]]] = {
    ("audio", "period_ms"): (1, 50, "ms"),
    ("video", "width"): (160, 4096, "pixels"),
    ("video", "height"): (120, 3072, "pixels"),
    ("video", "fps"): (5, 240, "frames per second"),
    ("models", "threads"): (1, 8, "threads"),
    ("decoding", "refractory_ms"): (20, 500, "ms"),
    ("decoding", "minimum_duration_ms"): (0, 500, "ms"),
    ("decoding", "key_prior_window_sec"): (0.1, 60, "s"),
    ("decoding", "key_prior_beta"): (0, 100, ""),
    ("decoding", "key_prior_rho_uniform"): (0, 1, ""),
    ("decoding", "key_prior_lambda"): (0, 10, ""),
    ("rtp_midi", "port"): (1, 65534, ""),
    ("mqtt", "port"): (1, 65535, ""),
    ("recorder", "minutes"): (0, 30, "minutes (0 = off)"),
    ("recorder", "video_fps"): (1, 60, "frames per second"),
    ("recorder", "limit_gb"): (0.01, 10_000, "GB"),
    ("runtime", "realtime_priority"): (0, 99, "(0 = off)"),
}


def load_config(path: Path | None = None) -> Config:
    """Return the configuration in ``path``; without one, that of the system, else the defaults.

    Raises:
        ConfigError: the file is missing or not TOML, or keys are unknown, of a wrong type or out of range;
            the message lists every mistake.
    """
    if path is None:
        if not SYSTEM_PATH.is_file():
            return Config()
        path = SYSTEM_PATH
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no configuration file at {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], name: str = "configuration") -> Config:
    """Return the typed form of ``raw``; raises ConfigError that lists every mistake."""
    mistakes: list[str] = []
    sections: dict[str, Any] = {}
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(Config)}
    for section, content in raw.items():
        if section not in kinds:
            mistakes.append(f"unknown section [{section}]{_nearest(section, kinds)}")
        elif not isinstance(content, dict):
            mistakes.append(f"{section} is a section: write [{section}] and its keys below")
        else:
            values = _check_section(section, content, kinds[section], mistakes)
            sections[section] = kinds[section](**values)
    if (mqtt := sections.get("mqtt")) and mqtt.enabled == "on" and not mqtt.host:
        mistakes.append('mqtt.enabled = "on" needs mqtt.host: name the broker')
    if rtp := sections.get("rtp_midi"):
        from ivories.sinks.rtp_midi import address_mistakes

        mistakes += address_mistakes(rtp.allow, rtp.invite)
        if rtp.enabled == "on" and not (rtp.allow or rtp.invite):
            mistakes.append('rtp_midi.enabled = "on" needs rtp_midi.allow or rtp_midi.invite')
    if mistakes:
        raise ConfigError(f"{name}: " + "; ".join(mistakes))
    return Config(**sections)


def to_toml(config: Config) -> str:
    """Return ``config`` as TOML, every key named. Secrets live in files, so there is nothing to mask."""
    return msgspec.toml.encode(config).decode()


def _check_section(section: str, content: dict[str, Any], kind: Any, mistakes: list[str]) -> dict[str, Any]:
    types = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        where = f"{section}.{key}"
        if key not in types:
            mistakes.append(f"unknown key {where}{_nearest(key, types)}")
            continue
        try:
            values[key] = msgspec.convert(value, types[key])
        except msgspec.ValidationError as error:
            mistakes.append(f"{where} = {value!r}: {str(error)[:1].lower()}{str(error)[1:]}")
            continue
        low, high, unit = _RANGES.get((section, key), (None, None, ""))
        if low is not None and high is not None and not low <= values[key] <= high:
            mistakes.append(f"{where} = {value!r}: must be {low:g} to {high:g} {unit}".rstrip())
    return values


def _nearest(word: str, known: dict[str, Any]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"
