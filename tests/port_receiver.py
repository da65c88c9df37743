"""The laptop's end of the MIDI port, for the injection of faults."""

import time


class Receiver:
    """A synthesizer: what sounds, as counts; strict about the form of what it hears."""

    def __init__(self):
        self.sounding = {}
        self.pedal = 0
        self.ended = set()  # pitches since it was last cleared
        self.silenced_at = 0.0  # time of the last all-notes-off
        self.rest = b""
        self.torn = 0

    @property
    def silent(self):
        return not self.sounding and not self.pedal

    def feed(self, data):
        data = self.rest + data.replace(b"\xfe", b"")
        place = 0
        while place + 3 <= len(data):
            status, first, value = data[place : place + 3]
            if status < 0x80 or first >= 0x80 or value >= 0x80:
                self.torn += 1  # an owner died within a message
                place += 1
                continue
            place += 3
            if status == 0x90:
                self.sounding[first] = self.sounding.get(first, 0) + 1
            elif status == 0x80:
                self.ended.add(first)
                if self.sounding.get(first, 0) > 1:
                    self.sounding[first] -= 1
                else:
                    self.sounding.pop(first, None)
            elif first == 64:
                self.pedal = value
            elif first == 123:
                self.silenced_at = time.monotonic()
                self.ended.update(self.sounding)
                self.sounding.clear()
        self.rest = data[place:]
