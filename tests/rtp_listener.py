"""A receiver of RTP-MIDI written from RFC 6295 alone: it repairs by the journal what it lost, and complains.

It shares nothing with the sender but the specification. ``AssertionError`` means that a packet breaks a rule.
"""

import struct

PEDAL, ALL_NOTES_OFF = 64, 123


class Reader:
    """Bytes taken from the front."""

    def __init__(self, data):
        self.data = data

    def take(self, count):
        assert len(self.data) >= count, "shorter than it says"
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def byte(self):
        return self.take(1)[0]


def command_section(reader):
    """Return the messages, and whether a journal follows."""
    first = reader.byte()
    long, journal, delta_first = first & 0x80, first & 0x40, first & 0x20
    length = (first & 0x0F) << 8 | reader.byte() if long else first & 0x0F
    listed = Reader(reader.take(length))
    messages = []
    while listed.data:
        if messages or delta_first:
            while listed.byte() & 0x80:
                pass
        messages.append(tuple(listed.take(3)))
        assert messages[-1][0] & 0x80, "no status byte"
        assert max(messages[-1][1:]) < 0x80
    return messages, bool(journal)


def journal_section(reader):
    """Return the journal as a dict: checkpoint, s, and what the one channel's chapters say."""
    head, checkpoint = struct.unpack(">BH", reader.take(3))
    found = {"s": bool(head & 0x80), "checkpoint": checkpoint, "logs": [], "on": [], "off": [], "b": True}
    assert not head & 0x50, "system journal, or enhanced chapter C"
    if not head & 0x20:
        assert not head & 0x0F
        return found
    assert head & 0x0F == 0, "one channel is coded as 0"
    start = len(reader.data)
    channel, contents = struct.unpack(">HB", reader.take(3))
    length = channel & 0x3FF
    found["channel"] = channel >> 11 & 0xF
    assert not channel & 0x0400
    assert bool(channel & 0x8000) == found["s"]
    assert contents, "a channel journal without chapters"
    assert not contents & ~0x48, "other chapters than C and N"
    parts = []
    if contents & 0x40:
        header = reader.byte()
        logs = [tuple(reader.take(2)) for _ in range((header & 0x7F) + 1)]
        found["logs"] = [(bool(a & 0x80), a & 0x7F, b) for a, b in logs]
        numbers = [number for _, number, _ in found["logs"]]
        assert len(set(numbers)) == len(numbers)
        parts += [bool(header & 0x80)]
        assert parts == [all(s for s, _, _ in found["logs"])]
    if contents & 0x08:
        header, octets = reader.take(2)
        count, low, high = header & 0x7F, octets >> 4, octets & 0xF
        assert count < 127, "more notes than keys"
        for _ in range(count):
            a, b = reader.take(2)
            assert b & 0x7F, "a note log with velocity 0"
            found["on"].append((bool(a & 0x80), a & 0x7F, b & 0x7F, bool(b & 0x80)))
        if low <= high:
            bits = reader.take(high - low + 1)
            assert bits[0], "an OFFBITS octet too many before"
            assert bits[-1], "an OFFBITS octet too many after"
            found["off"] = [
                8 * (low + at) + bit
                for at, octet in enumerate(bits)
                for bit in range(8)
                if octet & 0x80 >> bit
            ]
        else:
            assert (low, high) in {(15, 0), (15, 1)}
        assert found["on"] or found["off"]
        found["b"] = bool(header & 0x80)
        pitches = [pitch for _, pitch, _, _ in found["on"]]
        assert len(set(pitches)) == len(pitches)
        assert not set(pitches) & set(found["off"])
        parts += [found["b"], *(s for s, *_ in found["on"])]
    assert start - len(reader.data) == length, "LENGTH is wrong"
    assert found["s"] == all(parts)
    return found


class Listener:
    """What a synthesizer behind a good receiver hears.

    Args:
        reads_journal: if not, it is one of those that only take what arrives.
        uses_single: skip what the S bits allow to skip after the loss of one packet.
    """

    def __init__(self, *, reads_journal=True, uses_single=True):
        self.reads_journal, self.uses_single = reads_journal, uses_single
        self.highest = self.ssrc = None
        self.sounding = {}  # pitch -> velocity; notes skipped as too late included
        self.pedal = 0
        self.heard = []  # messages that changed something
        self.skipped = set()
        self.losses = self.repaired = self.journal_bytes = self.packets = 0

    def take(self, data):
        """Take one RTP packet; return its sequence number."""
        known = self.ssrc
        head, kind, sequence, self.ticks, self.ssrc = struct.unpack(">BBHII", data[:12])
        assert head == 0x80
        assert kind & 0x7F == 97
        reader = Reader(data[12:])
        messages, has_journal = command_section(reader)
        assert bool(kind & 0x80) == bool(messages), "the marker tells whether there are messages"
        assert has_journal, "every payload has a journal"
        if self.ssrc != known:  # another stream
            self.highest = None
        self.packets += 1
        self.journal_bytes += len(reader.data)
        journal = journal_section(reader)
        assert not reader.data, "something behind the journal"
        step = 1 if self.highest is None else (sequence - self.highest) & 0xFFFF
        if step == 0 or step > 0x7FFF:
            return sequence  # a copy, or late
        if self.highest is None or step > 1:
            self.losses += self.highest is not None
            if self.reads_journal:
                covered = (sequence - journal["checkpoint"]) & 0xFFFF
                assert self.highest is None or covered >= step - 1, "the journal does not reach far enough"
                self.repair(journal, single=step == 2 and self.uses_single)
        self.highest = sequence
        for message in messages:
            self.play(message)
        return sequence

    def repair(self, journal, *, single):
        before = len(self.heard)
        if single and journal["s"]:
            return
        for old, number, how in journal["logs"]:
            if number == PEDAL and not (single and old):
                assert how < 0x80, "the value of the pedal"
                self.play((0xB0, PEDAL, how))
            elif number == ALL_NOTES_OFF:
                assert how & 0xC0 == 0xC0, "the count of all notes off"
        for pitch in journal["off"] if not (single and journal["b"]) else []:
            self.play((0x80, pitch, 64))
        for old, pitch, velocity, play in journal["on"]:
            if (single and old) or self.sounding.get(pitch) == velocity:
                continue
            self.play((0x80, pitch, 64))
            self.play((0x90, pitch, velocity), silently=not play)
        self.repaired += len(self.heard) - before

    def play(self, message, *, silently=False):
        status, number, value = message
        kind = status & 0xF0
        changed = True
        if kind == 0x90 and value:
            self.skipped.discard(number)
            self.sounding[number] = value
            if silently:
                self.skipped.add(number)
        elif kind in (0x80, 0x90):
            changed = self.sounding.pop(number, None) is not None and number not in self.skipped
            self.skipped.discard(number)
        elif number == PEDAL:
            changed, self.pedal = value != self.pedal, value
        elif number == ALL_NOTES_OFF:
            changed = bool(self.sounding)
            self.sounding.clear()
        if changed and not silently:
            self.heard.append(message)
