"""The raw MIDI port through all that happens to a cable: a named pipe or a pty stands in for the node."""

import fcntl
import os
import select
import signal
import threading
import time
import tty
from pathlib import Path

import numpy as np
import pytest

from ivories import outputs
from ivories.config import parse_config
from ivories.errors import SinkError
from ivories.keyboard import pitch_of_key
from ivories.sinks.port import line as owner_line
from ivories.sinks.port import node as port_node
from ivories.sinks.port.owner import PortOwner
from ivories.sinks.rawmidi import find_cable, find_gadget
from ivories.sinks.usb_midi import UsbMidiSink
from played import MidiReceiver, Player, offset, onset, pedal


class Host:
    """The reading end of a named pipe: the laptop's side."""

    def __init__(self, path):
        self.path = path
        self.receiver = MidiReceiver()
        self.number = None

    def open(self):
        self.number = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(self.number, fcntl.F_SETPIPE_SZ, 4096)  # about what a gadget keeps
        return self

    def close(self):
        if self.number is not None:
            os.close(self.number)
            self.number = None

    def read(self, seconds=0.05):
        """Read until nothing comes for ``seconds``."""
        poll = select.poll()
        poll.register(self.number, select.POLLIN)
        while poll.poll(seconds * 1000):
            data = os.read(self.number, 65536)
            if not data:
                break
            self.receiver.feed(data)
        return self.receiver

    def read_until(self, condition, seconds=3.0):
        deadline = time.monotonic() + seconds
        while not condition(self.read(0.01)):
            assert time.monotonic() < deadline, self.receiver.messages[-5:]
        return self.receiver


@pytest.fixture
def host(tmp_path):
    os.mkfifo(tmp_path / "midiC1D0")
    host = Host(tmp_path / "midiC1D0").open()
    yield host
    host.close()


@pytest.fixture
def sink(host):
    sink = UsbMidiSink(device=str(host.path))
    yield sink
    sink.close()


def wait_for(condition, seconds=3.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def fill(player):
    """Play until the node is full."""
    for count in range(100_000):
        player.play(onset(count % 80, velocity=1 + count % 127), offset(count % 80))
        if player.sink.state == "full":
            return
    raise AssertionError("the node never filled")


class OwnerThread(threading.Thread):
    """A port owner within the reach of monkeypatch."""

    def __init__(self, line, arguments):
        super().__init__(daemon=True)
        device, channel, wait, active_sensing, _ = arguments
        self.owner = PortOwner(line.dup(), device, channel=int(channel), active_sensing=active_sensing == "1")
        self.wait_for_node = wait == "1"
        self.start()

    def run(self):
        self.opened = self.owner.run(wait=self.wait_for_node)
        self.owner._line.close()

    def wait(self, timeout):
        self.join(timeout)
        return 0 if self.opened else 1

    def kill(self):
        pass


@pytest.fixture
def owned_here(monkeypatch):
    monkeypatch.setattr(owner_line, "launch", OwnerThread)


def test_opening_silences_the_receiver_first(host, sink):
    receiver = host.read()
    assert [m.type for m in receiver.messages[:2]] == ["control_change", "control_change"]
    assert {m.note for m in receiver.messages[2:-2]} == set(range(21, 109))
    assert receiver.silent


def test_notes_arrive_whole_and_in_order(host, sink):
    host.read().messages.clear()
    Player(sink).play(onset(39, velocity=80), pedal(127), offset(39, velocity=33), pedal(0))
    assert [tuple(m.bytes()) for m in host.read().messages] == [
        (0x90, 60, 80), (0xB0, 64, 127), (0x80, 60, 33), (0xB0, 64, 0),
    ]  # fmt: skip


def test_a_signal_to_the_whole_service_does_not_end_the_owner(host, monkeypatch, opened):
    processes = []
    launch = owner_line.launch
    monkeypatch.setattr(
        owner_line, "launch", lambda *given: processes.append(launch(*given)) or processes[-1]
    )
    sink = UsbMidiSink(device=str(host.path))
    opened.append(sink)
    host.read().messages.clear()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        processes[0].send_signal(number)
    Player(sink).play(onset(39, velocity=80), offset(39, velocity=33))
    assert [tuple(m.bytes()) for m in host.read().messages] == [(0x90, 60, 80), (0x80, 60, 33)]
    assert processes[0].poll() is None


def test_a_write_takes_microseconds(host, sink, capsys):
    player, times = Player(sink), []
    host.read()
    for count in range(1000):
        event, state = (onset if count % 2 == 0 else offset)(count // 2 % 88), player.state()
        start = time.perf_counter_ns()
        sink.send(event, state)
        times.append((time.perf_counter_ns() - start) / 1000)
        if count % 100 == 0:
            host.read(0)
    middle, high = np.percentile(times, [50, 99])
    with capsys.disabled():
        print(f"\nraw MIDI port: send takes {middle:.1f} us (p50), {high:.1f} us (p99)")  # noqa: T201  a figure to see
    assert high < 2000


def test_a_full_node_never_blocks_and_every_note_ends_when_it_empties(host, sink):
    player = Player(sink)
    fill(player)
    player.play(onset(85, velocity=99), pedal(127))
    start = time.monotonic()
    player.play(*[event for key in range(60) for event in (onset(key), offset(key))])
    assert time.monotonic() - start < 0.5
    wait_for(lambda: sink.refused)
    assert "open, full" in repr(sink)
    receiver = host.read_until(lambda r: r.sounding == {pitch_of_key(85): 1} and r.pedal == 127)
    wait_for(lambda: "open, full" not in repr(sink))
    player.play(offset(85), pedal(0))
    assert host.read_until(lambda r: r.silent)
    assert receiver.messages  # parsed without a broken message: no byte was lost in the middle


def test_release_all_and_close_do_not_hang_on_a_full_node(host, sink):
    player = Player(sink)
    fill(player)
    player.play(onset(85))
    start = time.monotonic()
    sink.release_all()
    sink.close()
    assert time.monotonic() - start < 0.5
    sink.close()


def test_after_release_all_on_a_full_node_the_offsets_come_when_it_empties(host, sink):
    player = Player(sink)
    player.play(onset(40), onset(44), pedal(127))
    fill(player)
    sink.release_all()
    host.read_until(lambda r: r.silent and "open, full" not in repr(sink))


def test_nobody_listening_for_long_means_a_clean_start(owned_here, host, sink, monkeypatch):
    monkeypatch.setattr(port_node, "STALE_S", 0.05)
    player = Player(sink)
    fill(player)
    time.sleep(0.1)
    player.play(onset(85))
    host.read_until(lambda r: r.sounding == {pitch_of_key(85): 1} and "open, full" not in repr(sink))
    ends = [m for m in host.receiver.messages if m.type == "control_change" and m.control == 123]
    assert len(ends) == 4  # two at the opening, two now


def test_a_lost_node_is_opened_again_and_hears_the_keys_as_they_are(host, sink):
    player = Player(sink)
    player.play(onset(39, velocity=80), onset(43, velocity=90))
    assert host.read().sounding == {60: 1, 64: 1}
    host.close()
    player.play(offset(39))  # the write that finds out
    wait_for(lambda: "absent" in repr(sink))
    player.play(onset(50, velocity=70), pedal(127), offset(50))
    host.receiver = MidiReceiver()
    host.receiver.sounding = {60: 1, 64: 1}  # a synthesizer that kept sounding what it was told
    host.open()
    receiver = host.read_until(lambda r: r.pedal == 127 and r.sounding)
    assert receiver.sounding == {64: 1}
    assert sink.reopened == 1
    player.play(offset(43), pedal(0))
    assert host.read().silent


def test_a_node_lost_in_silence_is_noticed_without_a_write(host, sink):
    host.read()
    host.close()
    wait_for(lambda: "absent" in repr(sink))
    host.open()
    host.read_until(lambda r: len(r.messages) >= 180)  # silenced again


def test_many_losses_leave_no_note_hanging(host, sink):
    random = np.random.default_rng(5)
    player = Player(sink)
    for _ in range(15):
        player.play(*[onset(int(key)) for key in random.integers(0, 88, 5) if not player.pressed[key]])
        if random.random() < 0.5:
            fill(player)
        host.close()
        held = player.pressed.nonzero()[0]
        player.play(*[offset(int(key)) for key in held[::2]])
        wait_for(lambda: sink.state == "absent")
        host.open()
        expected = {pitch_of_key(int(key)): 1 for key in player.pressed.nonzero()[0]}
        host.receiver = MidiReceiver()
        host.read_until(lambda r, expected=expected: r.sounding == expected and len(r.messages) >= 90)
    sink.release_all()
    assert host.read().silent


def test_threads_may_release_while_another_sends(host, sink):
    player, stop = Player(sink), threading.Event()

    def drain():
        while not stop.is_set():
            host.read(0.01)

    reader = threading.Thread(target=drain)
    releaser = threading.Thread(target=lambda: [sink.release_all() for _ in range(300)])
    reader.start()
    releaser.start()
    for count in range(1500):
        player.play(onset(count % 88), offset(count % 88))
    releaser.join()
    sink.release_all()
    stop.set()
    reader.join()
    assert host.read().silent


def test_a_terminal_device_works_as_a_node_and_its_end_is_noticed():
    main, side = os.openpty()
    tty.setraw(side)
    sink = UsbMidiSink(device=os.ttyname(side))
    os.close(side)
    Player(sink).play(onset(39))
    receiver = MidiReceiver()
    while not receiver.sounding:
        receiver.feed(os.read(main, 4096))
    assert receiver.sounding == {60: 1}
    os.close(main)
    wait_for(lambda: "absent" in repr(sink))
    sink.close()


def test_a_node_that_is_not_there_is_told_or_awaited(tmp_path):
    with pytest.raises(SinkError, match="cannot open the MIDI port"):
        UsbMidiSink(device=str(tmp_path / "midiC7D0"))
    sink = UsbMidiSink(device=str(tmp_path / "midiC7D0"), wait=True)
    Player(sink).play(onset(39), onset(40), offset(40))
    os.mkfifo(tmp_path / "midiC7D0")
    host = Host(tmp_path / "midiC7D0").open()
    host.read_until(lambda r: r.sounding == {60: 1})
    sink.close()
    assert host.read().silent
    host.close()


def test_the_gadget_port_is_found_among_the_sound_cards(tmp_path):
    assert find_gadget(tmp_path) is None
    (tmp_path / "proc/asound").mkdir(parents=True)
    (tmp_path / "dev/snd").mkdir(parents=True)
    (tmp_path / "proc/asound/cards").write_text(
        " 0 [Device         ]: USB-Audio - USB PnP Sound Device\n"
        "                      C-Media USB PnP Sound Device at usb-3f980000\n"
        " 1 [MIDI           ]: USB-Audio - Ivories\n"
        "                      Ivories at usb-xhci-1, full speed\n"
        " 2 [Ivories        ]: MIDI Gadget - f_midi\n"
        "                      MIDI Gadget\n"
    )
    assert find_gadget(tmp_path) is None
    (tmp_path / "dev/snd/midiC2D0").touch()
    assert find_gadget(tmp_path) == tmp_path / "dev/snd/midiC2D0"


def test_a_host_that_takes_the_gadget_up_hears_the_keys_as_they_are(owned_here, host, tmp_path, monkeypatch):
    state = tmp_path / "sys/class/udc/fe980000.usb/state"
    state.parent.mkdir(parents=True)
    state.write_text("configured\n")
    bell, ring = os.pipe()

    class Cable(port_node.Cable):
        """A pipe rings where sysfs would."""

        events = select.POLLIN

        def fileno(self):
            return bell

        def taken_up(self):
            if select.select([bell], [], [], 0)[0]:
                os.read(bell, 1)
            return state.read_text().strip() == "configured"

    monkeypatch.setattr(port_node, "find_cable", lambda: find_cable(tmp_path))
    monkeypatch.setattr(port_node, "find_gadget", lambda: host.path)
    monkeypatch.setattr(port_node, "Cable", Cable)
    sink = UsbMidiSink()
    player = Player(sink)
    player.play(onset(39), onset(43))
    assert host.read().sounding == {60: 1, 64: 1}
    state.write_text("not attached\n")
    os.write(ring, b".")
    player.play(offset(39), onset(50))
    host.read()
    host.receiver = MidiReceiver()  # a host that heard nothing of it
    host.receiver.sounding = {60: 1, 64: 1}
    state.write_text("configured\n")
    os.write(ring, b".")
    host.read_until(lambda r: r.sounding == {64: 1, 71: 1})
    assert sink.reopened == 0
    sink.close()
    os.close(bell)
    os.close(ring)


def test_the_state_of_the_cable_is_read_from_its_file(tmp_path):
    assert find_cable(tmp_path) is None
    state = tmp_path / "sys/class/udc/fe980000.usb/state"
    state.parent.mkdir(parents=True)
    state.write_text("addressed\n")
    cable = port_node.Cable(find_cable(tmp_path))
    assert not cable.taken_up()
    state.write_text("configured\n")
    assert cable.taken_up()
    cable.close()


def test_without_a_gadget_auto_says_what_to_do(owned_here, monkeypatch):
    monkeypatch.setattr(port_node, "find_gadget", lambda: None)
    with pytest.raises(SinkError, match="no USB-MIDI gadget port"):
        UsbMidiSink()


BOARDS = [(True, "auto", 1), (False, "auto", 0), (False, "on", 1), (True, "off", 0)]


@pytest.mark.parametrize(("board", "enabled", "opened"), BOARDS)
def test_a_board_with_a_usb_device_port_waits_for_its_gadget(owned_here, monkeypatch, board, enabled, opened):
    monkeypatch.setattr(outputs, "find_cable", lambda: Path("/sys/class/udc/x/state") if board else None)
    monkeypatch.setattr(port_node, "find_gadget", lambda: None)
    monkeypatch.setattr(port_node, "find_cable", lambda: None)
    config = parse_config({"usb_midi": {"enabled": enabled}, "alsa_seq": {"enabled": "off"}})
    sinks = outputs.build_sinks(config, {}, view=True)
    usb = [sink for sink in sinks if sink.name == "usb_midi"]
    assert len(usb) == opened
    assert all(sink.state == "absent" for sink in usb)
    for sink in sinks:
        sink.close()
