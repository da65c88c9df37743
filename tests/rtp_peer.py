"""A participant of RTP-MIDI sessions: it can call and be called, lose packets, and vanish."""

import contextlib
import os
import random
import select
import socket
import struct
import threading
import time

from rtp_listener import Listener

EXCHANGE = struct.Struct(">2s2sIII")
CLOCK = struct.Struct(">2s2sIBxxxQQQ")


def free_port():
    """Return a UDP port that is free, and the one after it too."""
    while True:
        with contextlib.suppress(OSError), udp(0) as one:
            port = one.getsockname()[1]
            with udp(port + 1):
                return port


def udp(port, family=socket.AF_INET):
    link = socket.socket(family, socket.SOCK_DGRAM)
    try:
        link.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
    except OSError:
        link.close()
        raise
    return link


def until(true, seconds=10):
    """Wait until ``true()``; return it."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return value


class Peer:
    """Listens at ``port`` and the next from its making to ``close``.

    Args:
        port: for control; None takes a free one.
        answer: to invitations.
        feedback: tell the sender after each packet what arrived.
        loss: probability that a packet with notes gets lost.
    """

    def __init__(self, port=None, *, answer=b"OK", feedback=True, loss=0.0, seed=0, family=socket.AF_INET):
        self.port = free_port() if port is None else port
        self.links = [udp(self.port, family), udp(self.port + 1, family)]
        self.answer, self.feedback, self.loss = answer, feedback, loss
        self.random = random.Random(seed)
        self.ssrc = int.from_bytes(os.urandom(4), "big")
        self.listener = Listener(reads_journal=feedback)
        self.lock = threading.Lock()
        self.deaf = False
        self.said = []  # commands that arrived: (command, at the data port, token, SSRC, name)
        self.clocks = []  # steps of comparisons that arrived
        self.sender = None
        self.trouble = None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def call(self, port, *, token=77, wait=True):
        """Invite who listens at ``port``, and wait until the clocks are compared."""
        self.sender = port
        for at_data in (0, 1):
            before = self.count(b"OK")
            packet = EXCHANGE.pack(b"\xff\xff", b"IN", 2, token, self.ssrc) + b"Peer\0"
            self.links[at_data].sendto(packet, ("127.0.0.1", port + at_data))
            if wait:
                until(lambda before=before: self.count(b"OK") > before)
        if wait:
            before = len(self.clocks)
            self.ask_clock()
            until(lambda: len(self.clocks) > before)

    def ask_clock(self):
        self.links[1].sendto(
            CLOCK.pack(b"\xff\xff", b"CK", self.ssrc, 0, 1, 0, 0), ("127.0.0.1", self.sender + 1)
        )

    def leave(self, token=77):
        self.links[0].sendto(
            EXCHANGE.pack(b"\xff\xff", b"BY", 2, token, self.ssrc), ("127.0.0.1", self.sender)
        )

    def count(self, command):
        return sum(said[0] == command for said in self.said)

    def run(self):
        try:
            while not self.stop.is_set():
                for link in select.select(self.links, [], [], 0.05)[0]:
                    data, origin = link.recvfrom(4096)
                    if not self.deaf:
                        with self.lock:
                            self.take(link, data, origin)
        except AssertionError as broken:
            self.trouble = broken

    def take(self, link, data, origin):
        at_data = link is self.links[1]
        if data[:2] != b"\xff\xff":
            assert at_data
            if self.random.random() >= self.loss:
                number = self.listener.take(data)
                if self.feedback:
                    told = struct.pack(">2s2sIHH", b"\xff\xff", b"RS", self.ssrc, number, 0)
                    self.links[0].sendto(told, (origin[0], origin[1] - 1, *origin[2:]))
        elif data[2:4] == b"CK":
            _, _, ssrc, step, first, _, _ = CLOCK.unpack(data)
            self.clocks.append(step)
            if step == 0:
                answer = CLOCK.pack(b"\xff\xff", b"CK", self.ssrc, 1, first, 12345, 0)
                link.sendto(answer, origin)
        else:
            _, command, version, token, ssrc = EXCHANGE.unpack_from(data)
            assert version == 2
            name = data[EXCHANGE.size :].rstrip(b"\0").decode()
            self.said.append((command, at_data, token, ssrc, name))
            if command == b"IN" and self.answer:
                answer = EXCHANGE.pack(b"\xff\xff", self.answer, 2, token, self.ssrc) + b"Peer\0"
                link.sendto(answer, origin)

    def close(self):
        """Stop at once, as if switched off; raise what it had to complain about."""
        self.stop.set()
        self.thread.join(5)
        for link in self.links:
            link.close()
        if self.trouble:
            raise self.trouble
