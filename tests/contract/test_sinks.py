"""What every sink promises, checked on every sink: notes end, calls can be repeated, errors are sentences."""

import io
import json
import os
import re
import threading
import time

import mido
import paho.mqtt.client as paho
import pytest
from rich.console import Console

from ivories.backends import BACKENDS, load
from ivories.errors import SinkError
from ivories.keyboard import key_name, pitch_of_key
from ivories.sinks import alsa_seq
from ivories.sinks.mqtt.embedded_broker import start_broker
from played import MidiReceiver, Player, SequencerLibrary, offset, onset, pedal
from rtp_peer import Peer, free_port, until

SINKS = sorted(BACKENDS["sink"])
PITCH_OF_NAME = {key_name(key): pitch_of_key(key) for key in range(88)}


class Rig:
    """One sink and ``heard()``: the MIDI-like messages that came out of it, once it is closed.

    ``at_end``: it lets nothing out before that.
    """

    def __init__(self, sink, heard, clean_up=lambda: None, *, at_end=False):
        self.sink = sink
        self.heard = heard
        self.clean_up = clean_up
        self.at_end = at_end


def note(kind, pitch, velocity):
    return mido.Message({"onset": "note_on", "offset": "note_off"}[kind], note=pitch, velocity=velocity)


def of_json(line):
    record = json.loads(line)
    if record["kind"] == "pedal":
        return mido.Message("control_change", control=64, value=record["velocity"])
    return note(record["kind"], record["pitch"], record["velocity"])


def memory_rig(tmp_path, monkeypatch):
    sink = load("sink", "memory")()

    def heard():
        return [
            mido.Message("control_change", control=64, value=event.velocity)
            if event.key < 0
            else note(event.kind, pitch_of_key(event.key), event.velocity)
            for event in sink.events
        ]

    return Rig(sink, heard)


def midi_file_rig(tmp_path, monkeypatch):
    path = tmp_path / "take.mid"
    return Rig(
        load("sink", "midi_file")(path=path),
        lambda: [message for message in mido.MidiFile(path) if not message.is_meta],
        at_end=True,
    )


def jsonl_rig(tmp_path, monkeypatch):
    path = tmp_path / "take.jsonl"
    return Rig(
        load("sink", "jsonl")(path=path),
        lambda: list(map(of_json, path.read_text().splitlines())),
        at_end=True,
    )


def terminal_rig(tmp_path, monkeypatch):
    text = io.StringIO()

    def heard():
        messages = []
        for line in text.getvalue().splitlines():
            if found := re.match(r"(onset|offset) (\S+) vel (\d+) at ", line):
                messages.append(note(found[1], PITCH_OF_NAME[found[2]], int(found[3])))
            elif found := re.match(r"pedal (\d+) at ", line):
                messages.append(mido.Message("control_change", control=64, value=int(found[1])))
        return messages

    return Rig(load("sink", "terminal")(console=Console(file=text), plain=True), heard)


def mqtt_rig(tmp_path, monkeypatch):
    broker = start_broker()
    notes, listening, gone = [], threading.Event(), threading.Event()
    listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listener.on_connect = lambda client, *_: client.subscribe("ivories/piano/#", 1)
    listener.on_subscribe = lambda *_: listening.set()

    def on_message(client, data, message):
        if message.topic.endswith("/note"):
            notes.append(of_json(message.payload))
        elif message.topic.endswith("/status") and message.payload == b"offline":
            gone.set()

    listener.on_message = on_message
    listener.connect(broker.host, broker.port)
    listener.loop_start()
    assert listening.wait(5)
    sink = load("sink", "mqtt")(host=broker.host, port=broker.port, protocol=broker.protocol)
    deadline = time.monotonic() + 5
    while not sink.connected:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    def heard():
        assert gone.wait(5)
        return notes

    def clean_up():
        listener.disconnect()
        listener.loop_stop()
        broker.stop()

    return Rig(sink, heard, clean_up)


def usb_midi_rig(tmp_path, monkeypatch):
    path = tmp_path / "midiC1D0"
    os.mkfifo(path)
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = load("sink", "usb_midi")(device=str(path))

    def heard():
        parser = mido.Parser()
        parser.feed(os.read(number, 65536))
        return list(parser)

    return Rig(sink, heard, lambda: os.close(number))


def rtp_midi_rig(tmp_path, monkeypatch):
    peer = Peer()
    sink = load("sink", "rtp_midi")(invite=[f"127.0.0.1:{peer.port}"], port=free_port())
    until(lambda: sink.state == "open" and peer.listener.packets)

    def heard():
        until(lambda: peer.count(b"BY"))
        return [mido.Message.from_bytes(message) for message in peer.listener.heard]

    return Rig(sink, heard, peer.close)


def alsa_seq_rig(tmp_path, monkeypatch):
    library = SequencerLibrary()
    monkeypatch.setattr(alsa_seq, "_load", lambda: library)
    return Rig(load("sink", "alsa_seq")(), lambda: library.receiver.messages)


@pytest.fixture(params=SINKS)
def rig(request, tmp_path, monkeypatch):
    rig = globals()[f"{request.param}_rig"](tmp_path, monkeypatch)
    yield rig
    rig.sink.close()
    rig.clean_up()


def played(rig):
    receiver = MidiReceiver()
    for message in rig.heard():
        receiver.take(message)
    return receiver


def test_the_name_is_that_of_the_table(rig, request):
    assert rig.sink.name in SINKS
    assert type(rig.sink) is load("sink", rig.sink.name)


def test_notes_come_out_with_pitch_and_velocity(rig):
    Player(rig.sink).play(onset(0, 0.1, 1), onset(87, 0.2, 127), offset(0, 0.5, 33), offset(87, 0.6, 44))
    rig.sink.close()
    heard = [m for m in rig.heard() if m.type == "note_on" or (m.type == "note_off" and m.velocity != 64)]
    messages = [m.bytes() for m in heard]
    assert messages == [[0x90, 21, 1], [0x90, 108, 127], [0x80, 21, 33], [0x80, 108, 44]]


def test_every_event_learns_when_it_left(rig):
    player, events, begun_ns = Player(rig.sink), [onset(3), pedal(90), offset(3), onset(80)], []
    for event in events:
        begun_ns.append(time.monotonic_ns())
        player.play(event)
    rig.sink.close()
    left = [event.left_ns for event in events]
    if rig.at_end:
        assert left == [{}] * len(events)
        return
    assert [list(names) for names in left] == [[rig.sink.name]] * len(events)
    moments = [names[rig.sink.name] for names in left]
    assert moments == sorted(moments)
    assert all(
        begun <= moment <= time.monotonic_ns() for begun, moment in zip(begun_ns, moments, strict=True)
    )


def test_nothing_sounds_after_release_all(rig):
    player = Player(rig.sink)
    player.play(onset(30, 0.1), onset(40, 0.2), pedal(127, 0.3), onset(50, 0.4), offset(40, 0.5))
    rig.sink.release_all()
    rig.sink.release_all()
    rig.sink.close()
    receiver = played(rig)
    assert receiver.silent
    assert {m.note for m in receiver.messages if m.type == "note_on"} == {51, 61, 71}


def test_close_alone_ends_every_note(rig):
    Player(rig.sink).play(*[onset(key, key / 100) for key in range(88)], pedal(100, 1.0))
    rig.sink.close()
    receiver = played(rig)
    assert receiver.silent
    assert len([m for m in receiver.messages if m.type == "note_on"]) == 88


def test_notes_go_on_after_release_all(rig):
    player = Player(rig.sink)
    player.play(onset(30, 0.1))
    rig.sink.release_all()
    player.play(onset(30, 1.1), onset(31, 1.2), offset(31, 1.3))
    rig.sink.close()
    receiver = played(rig)
    assert receiver.silent
    assert len([m for m in receiver.messages if m.type == "note_on"]) == 3


def test_calls_may_be_repeated_and_come_late(rig):
    rig.sink.release_all()
    rig.sink.close()
    rig.sink.close()
    rig.sink.release_all()
    assert played(rig).silent


def test_a_closed_sink_refuses_notes_with_a_sentence(rig):
    rig.sink.close()
    with pytest.raises(SinkError, match=r"closed"):
        Player(rig.sink).play(onset(39))


def test_the_representation_shows_the_state(rig):
    before = repr(rig.sink)
    rig.sink.close()
    assert repr(rig.sink) != before
    assert "closed" in repr(rig.sink)
    assert " at 0x" not in before
