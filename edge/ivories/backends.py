"""The one table of back-ends: kind -> name -> "module:Class", imported when chosen.

A named back-end works or fails at start with a sentence that says what to install. ``auto`` walks the real
devices in the order of the table, logs each refusal with its reason, and never picks a fake.
"""

import importlib
from typing import Any, Final

from ivories.errors import BackendError

BACKENDS: Final[dict[str, dict[str, str]]] = {
    "audio": {
        "alsa": "ivories.sources.alsa:AlsaSource",
        "file": "ivories.sources.sound_file:SoundFileSource",
        "synthetic": "ivories.sources.synthetic:SyntheticSound",
    },
    "video": {
        "picamera2": "ivories.sources.picamera2:Picamera2Source",
        "v4l2": "ivories.sources.v4l2:V4l2Source",
        "file": "ivories.sources.video_file:VideoFileSource",
        "images": "ivories.sources.images:ImageFolderSource",
        "synthetic": "ivories.sources.synthetic:SyntheticPictures",
    },
    "inference": {
        "edgetpu": "ivories.inference.edgetpu:EdgeTpuRuntime",
        "litert": "ivories.inference.litert:LiteRtRuntime",
        "scripted": "ivories.inference.scripted:ScriptedRuntime",
    },
    "sink": {
        "mqtt": "ivories.sinks.mqtt.sink:MqttSink",
        "usb_midi": "ivories.sinks.usb_midi:UsbMidiSink",
        "alsa_seq": "ivories.sinks.alsa_seq:AlsaSequencerSink",
        "rtp_midi": "ivories.sinks.rtp_midi:RtpMidiSink",
        "midi_file": "ivories.sinks.midi_file:MidiFileSink",
        "jsonl": "ivories.sinks.jsonl:JsonLinesSink",
        "terminal": "ivories.sinks.terminal:TerminalSink",
        "memory": "ivories.sinks.memory:MemorySink",
    },
}

FAKES: Final = frozenset({"synthetic", "scripted", "memory"})
"""Never chosen by ``auto``."""


# What brings a library that only some machines have.
_INSTALL: Final = {
    "alsaaudio": "sudo apt-get install libasound2-dev, then pip install 'ivories[alsa]'",
    "picamera2": "sudo apt-get install python3-picamera2, in an environment made with --system-site-packages",
}


def load(kind: str, name: str) -> Any:
    """Return the class of back-end ``name`` of ``kind``.

    Raises:
        BackendError: the name is unknown, or a library that it needs is not installed.
    """
    table = BACKENDS[kind]
    if name not in table:
        raise BackendError(f"unknown {kind} back-end {name!r}: choose one of {', '.join(table)}")
    module_name, class_name = table[name].split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        advice = _INSTALL.get(error.name or "", "install Ivories again")
        raise BackendError(
            f"{kind} back-end {name!r} needs a library that is missing here ({error}): {advice}"
        ) from error
    return getattr(module, class_name)
