"""An ALSA sequencer port, for programs on this computer: connect it there or with ``aconnect``.

Straight to libasound, which is already there wherever sound is: six functions. Of the libraries for it,
``alsa-midi`` tries again without end when one of several programs that listen does not take its events, and
would stop the music with that program; ``python-rtmidi`` only prints that a message was lost.
"""

import ctypes
import errno
import os
import struct
import threading
from typing import Any, Final

from ivories.clock import now_ns
from ivories.datatypes import KeyState, NoteEvent
from ivories.errors import BackendError, SinkError
from ivories.sinks.midi import event_bytes
from ivories.sinks.port.ledger import CONTROL_CHANGE, NOTE_OFF, NOTE_ON, PortLedger

# Numbers of <alsa/seq_event.h>, <alsa/seq.h> and <alsa/seqmid.h>
_EVENT_TYPES: Final = {NOTE_ON: 6, NOTE_OFF: 7, CONTROL_CHANGE: 10}
_DIRECT: Final = 253  # not queued
_SUBSCRIBERS: Final = 254
_UNKNOWN: Final = 253
_OPEN_OUTPUT: Final = 1
_NONBLOCK: Final = 1
_CAPABILITIES: Final = 1 << 0 | 1 << 5  # readable, readable by subscription
_PORT_TYPE: Final = 1 << 1 | 1 << 20  # speaks MIDI, is a program


class AlsaSequencerSink:
    """Sends notes to every program connected to its port; nobody there is not an error.

    A program that hangs and whose queue is full loses notes of its own; the others go on. What it lost of
    offsets and pedal is repeated until it takes them.
    """

    name = "alsa_seq"

    def __init__(self, *, port: str = "Ivories", channel: int = 0) -> None:
        """Open a sequencer client and a readable port, both named ``port``, on MIDI ``channel`` 0..15.

        Raises:
            BackendError: this computer has no sequencer.
        """
        self._port_name = port
        self._channel = channel
        self._ledger = PortLedger(channel=channel)
        self._lock = threading.Lock()
        self._closed = False
        self._refused_ends: dict[int, bytes] = {}  # pitch, or -1 for the pedal -> message
        self.refused = 0
        """Messages that some program did not take"""
        self._library = _load()
        self._sequencer = ctypes.c_void_p()
        quiet = _error_handler(lambda *_: None)  # the sentence below says it all
        self._library.snd_lib_error_set_handler(quiet)
        status = self._library.snd_seq_open(
            ctypes.byref(self._sequencer), b"default", _OPEN_OUTPUT, _NONBLOCK
        )
        self._library.snd_lib_error_set_handler(_error_handler())
        if status >= 0:
            name = port.encode()
            self._library.snd_seq_set_client_name(self._sequencer, name)
            status = self._library.snd_seq_create_simple_port(
                self._sequencer, name, _CAPABILITIES, _PORT_TYPE
            )
        if status < 0:
            self._close_sequencer()
            raise BackendError(
                f"no ALSA sequencer port can be opened ({os.strerror(-status)}): load the sequencer with "
                "'modprobe snd-seq' and let this user read and write /dev/snd/seq (group 'audio')"
            )
        self._port = status

    def __repr__(self) -> str:
        """Show the port, its state and the counter."""
        state = "closed" if self._closed else "open"
        return f"<AlsaSequencerSink {self._port_name} {state}, refused {self.refused}>"

    def send(self, event: NoteEvent, state: KeyState) -> None:  # noqa: ARG002  the contract's argument
        """Let ``event`` out; raises ``SinkError`` when the sequencer is gone or the sink is closed."""
        with self._lock:
            if self._closed:
                raise SinkError(f"the sequencer port {self._port_name} is closed: no note can be sent")
            self._ledger.record(event_bytes(event, channel=self._channel))
            self._drain()
            event.left_ns[self.name] = now_ns()

    def release_all(self) -> None:
        """Let every sounding note end."""
        with self._lock:
            if not self._closed:
                self._ledger.release_all()
                self._drain()

    def close(self) -> None:
        """Release all and give the port back."""
        try:
            self.release_all()
        finally:
            with self._lock:
                self._closed = True
                self._close_sequencer()

    def _drain(self) -> None:
        self._ledger.drain(self._write)
        for number, message in list(self._refused_ends.items()):
            if not self._output(message):
                break
            del self._refused_ends[number]

    def _write(self, message: bytes) -> bool:
        """Send ``message`` once: a refusal by one program must not repeat notes to the others."""
        number = -1 if message[0] & 0xF0 == CONTROL_CHANGE else message[1]
        self._refused_ends.pop(number, None)
        if not self._output(message) and message[0] & 0xF0 != NOTE_ON:
            self._refused_ends[number] = message
        return True

    def _output(self, message: bytes) -> bool:
        status = self._library.snd_seq_event_output_direct(
            self._sequencer, sequencer_event(message, self._port)
        )
        if -status in {errno.EAGAIN, errno.ENOMEM, errno.ENOSPC}:
            self.refused += 1
            return False
        if status < 0:
            raise SinkError(f"the sequencer port {self._port_name} failed: {os.strerror(-status)}")
        return True

    def _close_sequencer(self) -> None:
        if self._sequencer:
            self._library.snd_seq_close(self._sequencer)
            self._sequencer = ctypes.c_void_p()


def sequencer_event(message: bytes, port: int) -> bytes:
    """Return the 28 bytes of ``snd_seq_event_t`` that send ``message`` at once to whoever hears ``port``.

    ``message`` is a note-on, note-off or control change of three bytes.
    """
    status, first, second = message
    channel = status & 0x0F
    if status & 0xF0 == CONTROL_CHANGE:
        data = struct.pack("=BxxxIi", channel, first, second)
    else:
        data = struct.pack("=BBBBI", channel, first, second, 0, 0)
    header = struct.pack("=BBBBQ", _EVENT_TYPES[status & 0xF0], 0, 0, _DIRECT, 0)
    return header + bytes((0, port, _SUBSCRIBERS, _UNKNOWN)) + data.ljust(12, b"\0")


_error_handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int)


def _load() -> Any:
    """Return libasound; raises ``BackendError`` when it is not installed."""
    try:
        library = ctypes.CDLL("libasound.so.2")
    except OSError as error:
        raise BackendError(
            f"the ALSA library is missing ({error}): install it with 'apt-get install libasound2'"
        ) from error
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    library.snd_lib_error_set_handler.argtypes = [_error_handler]
    library.snd_seq_open.argtypes = [ctypes.POINTER(pointer), text, number, number]
    library.snd_seq_set_client_name.argtypes = [pointer, text]
    library.snd_seq_create_simple_port.argtypes = [pointer, text, ctypes.c_uint, ctypes.c_uint]
    library.snd_seq_event_output_direct.argtypes = [pointer, text]
    library.snd_seq_close.argtypes = [pointer]
    return library
