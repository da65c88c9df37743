"""Note events made by hand, and what a receiver of MIDI makes of bytes; shared by the tests of the sinks."""

import struct

import mido
import numpy as np

from ivories.clock import MILLISECOND, SECOND
from ivories.datatypes import KeyState, NoteEvent, NoteKind
from ivories.keyboard import KEYS


def onset(key, t_s=0.0, velocity=64, *, delay_ms=40):
    t_ns = round(t_s * SECOND)
    return NoteEvent(NoteKind.ONSET, key, velocity, t_ns, t_ns + delay_ms * MILLISECOND, 0.9)


def offset(key, t_s=0.0, velocity=50, *, retracts=False):
    t_ns = round(t_s * SECOND)
    return NoteEvent(NoteKind.OFFSET, key, velocity, t_ns, t_ns + 30 * MILLISECOND, 0.8, retracts)


def pedal(value, t_s=0.0):
    t_ns = round(t_s * SECOND)
    return NoteEvent(NoteKind.PEDAL, -1, value, t_ns, t_ns, 0.7)


class Player:
    """Sends events to a sink together with the key state after each."""

    def __init__(self, sink):
        self.sink = sink
        self.pressed = np.zeros(KEYS, bool)
        self.velocity = np.zeros(KEYS, np.uint8)

    def play(self, *events):
        for event in events:
            if event.kind is not NoteKind.PEDAL:
                self.pressed[event.key] = event.kind is NoteKind.ONSET
            if event.kind is NoteKind.ONSET:
                self.velocity[event.key] = event.velocity
            self.sink.send(event, self.state())

    def state(self):
        return KeyState(self.pressed.copy(), np.zeros(KEYS, np.int64), self.velocity.copy())


class MidiReceiver:
    """A synthesizer's idea of what sounds; two note-ons of a key need two note-offs."""

    def __init__(self):
        self.parser = mido.Parser()
        self.messages = []
        self.sounding = {}
        self.pedal = 0

    def feed(self, data):
        self.parser.feed(data)
        for message in self.parser:
            self.take(message)

    def take(self, message):
        self.messages.append(message)
        if message.type == "note_on" and message.velocity:
            self.sounding[message.note] = self.sounding.get(message.note, 0) + 1
        elif message.type in ("note_on", "note_off"):
            if message.note in self.sounding:
                self.sounding[message.note] -= 1
                if not self.sounding[message.note]:
                    del self.sounding[message.note]
        elif message.type == "control_change" and message.control == 64:
            self.pedal = message.value
        elif message.type == "control_change" and message.control == 123:
            self.sounding.clear()

    @property
    def silent(self):
        return not self.sounding and not self.pedal


class SequencerLibrary:
    """The six functions of libasound; what is sent arrives at ``receiver`` as MIDI."""

    def __init__(self):
        self.receiver = MidiReceiver()
        self.status = 0
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append(name) or 0

    def snd_seq_open(self, handle, *_):
        handle._obj.value = 1
        return 0

    def snd_seq_create_simple_port(self, sequencer, name, capabilities, kind):
        self.port_name = name
        return 3

    def snd_seq_event_output_direct(self, sequencer, event):
        if self.status < 0:
            return self.status
        assert len(event) == 28
        kind, queue = event[0], event[3]
        assert queue == 253  # at once
        assert tuple(event[12:16]) == (0, 3, 254, 253)  # from our port to its subscribers
        if kind == 10:
            channel, controller, value = struct.unpack("=BxxxIi", event[16:])
            self.receiver.feed(bytes((0xB0 | channel, controller, value)))
        else:
            self.receiver.feed(bytes(({6: 0x90, 7: 0x80}[kind] | event[16], event[17], event[18])))
        return 28
