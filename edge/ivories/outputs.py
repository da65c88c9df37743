"""The ways out that a configuration asks for."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from rich.logging import RichHandler

from ivories.backends import load
from ivories.clock import now_ns
from ivories.config import Config, Switch
from ivories.errors import ConfigError, IvoriesError, SinkError
from ivories.sinks.base import Sink
from ivories.sinks.rawmidi import find_cable
from ivories.sinks.terminal import TerminalSink

_log = logging.getLogger(__name__)


def build_sinks(config: Config, models: Mapping[str, str], *, view: bool = False) -> list[Sink]:
    """Open every sink that is ``on`` (or fail), and those on ``auto`` that this machine offers.

    Args:
        config: all settings.
        models: name of each network and its fingerprint, for the broker.
        view: add the live keyboard in the terminal.

    Raises:
        SinkError: a sink that is ``on`` cannot be opened, or there is no way out at all.
        BackendError: a library it needs is not installed.
    """
    mqtt = config.mqtt
    sinks: list[Sink] = []
    start_ns = now_ns()  # what people read counts from here
    usb = config.usb_midi
    # On a board that can be a USB device, or asked for by name, the port may come later than the service.
    wait = usb.enabled == "on" or (usb.device == "auto" and find_cable() is not None)
    _add(
        sinks, "usb_midi", usb.enabled,
        lambda s: s(device=usb.device, wait=wait, active_sensing=usb.active_sensing),
    )  # fmt: skip
    _add(sinks, "alsa_seq", config.alsa_seq.enabled, lambda s: s(port=config.alsa_seq.port))
    rtp = config.rtp_midi
    _add(
        sinks, "rtp_midi", rtp.enabled if rtp.allow or rtp.invite else "off",
        lambda s: s(allow=rtp.allow, invite=rtp.invite, port=rtp.port, session=rtp.session),
    )  # fmt: skip
    _add(
        sinks, "mqtt", "off" if mqtt.enabled == "auto" and not mqtt.host else mqtt.enabled,
        lambda s: s(
            host=mqtt.host, port=mqtt.port, origin_ns=start_ns, one_clock=True, **mqtt_options(config, models)
        ),
    )  # fmt: skip
    if view:
        sinks.append(terminal(origin_ns=start_ns))
    if not sinks:
        raise SinkError(
            "no way out for the notes: connect the USB gadget, set mqtt.host, or call `ivories run --view`"
        )
    return sinks


def terminal(origin_ns: int = 0) -> TerminalSink:
    """Return the live view of the terminal; log lines are sent through it, so that they do not tear it."""
    view = TerminalSink(origin_ns=origin_ns)
    if not view.plain:
        logging.getLogger().handlers = [RichHandler(console=view.console, show_time=False, show_path=False)]
    return view


def mqtt_options(config: Config, models: Mapping[str, str]) -> dict[str, Any]:
    """Return what ``MqttSink`` wants besides host and port."""
    mqtt = config.mqtt
    return {
        "device": config.device.name, "prefix": mqtt.prefix, "username": mqtt.username,
        "password_file": mqtt.password_file, "tls": mqtt.tls, "ca_file": mqtt.ca_file,
        "cert_file": mqtt.cert_file, "key_file": mqtt.key_file, "home_assistant": mqtt.home_assistant,
        "commands": mqtt.commands, "models": models,
    }  # fmt: skip


def _add(sinks: list[Sink], name: str, switch: Switch, make: Callable[[type], Sink]) -> None:
    if switch == "off":
        return
    try:
        sinks.append(make(load("sink", name)))
    except IvoriesError as error:
        if switch == "on":
            for opened in sinks:
                opened.close()
            raise
        # A way out that is not there is nothing new; one that is set up wrongly was meant to be there.
        _log.log(
            logging.WARNING if isinstance(error, ConfigError) else logging.INFO, "no %s: %s", name, error
        )
