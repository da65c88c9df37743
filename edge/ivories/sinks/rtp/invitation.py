"""Asks one participant into an RTP-MIDI session, as often as it takes: it may be off, or come back later."""

import os
import socket
import threading
from collections.abc import Callable
from typing import Final

from ivories.sinks.rtp.packets import ACCEPTED, INVITATION, Exchange
from ivories.sinks.rtp.session import Address

ANSWER_S: Final = 1.0
"""How long to wait for an answer"""
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 15.0
LOOK_S: Final = 0.05
"""How often to look whether a name has been found"""
CONTROL_PORT: Final = 5004
"""Of those that name no other; notes go to the port after it"""


def split_peer(text: str) -> tuple[str, int]:
    """Return host and control port of ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``; raises ``ValueError``."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        if not closed or colon not in {"", ":"}:
            raise ValueError(text)
    elif text.count(":") > 1:
        host, colon, port = text, "", ""
    else:
        host, colon, port = text.partition(":")
    number = int(port) if colon else CONTROL_PORT
    if not host or any(letter.isspace() for letter in host) or not 0 < number < 0xFFFF:
        raise ValueError(text)
    return host, number


class Invitation:
    """One participant, from the first question to its yes on both ports.

    Args:
        peer: as for ``split_peer``.
        family: of the sockets that ask.
        name: of this side.
        tell: called with a sentence for the log.
    """

    def __init__(self, peer: str, *, family: int, name: str, tell: Callable[[str], None]) -> None:
        self.peer = peer
        self._host, self._port = split_peer(peer)
        self._family = family
        self._name = name
        self._tell = tell
        self.ssrc = 0
        """Of this side in the session asked for"""
        self.token = 0
        self._phase = "rest"
        self._due_at = 0.0
        self._retry_s = FIRST_RETRY_S
        self._tries = 0
        self._told = ""
        self._found: list[Address] | str | None = None  # addresses, or why there are none
        self.control: Address = ()
        self.data: Address = ()

    def due(self) -> float | None:
        """Return when ``step`` wants to be called; None while a session is open."""
        return None if self._phase == "open" else self._due_at

    def step(self, now: float) -> bytes | None:
        """Return a packet for the ``control`` port, when one is due."""
        if self._phase == "open" or now < self._due_at:
            return None
        if self._phase == "rest":
            self._phase, self._found = "looking", None
            threading.Thread(target=self._look_up, daemon=True).start()
        elif self._phase == "looking":
            if isinstance(self._found, list) and self._found:
                return self._ask(self._found, now)
            if self._found is not None:
                self.failed(str(self._found), now)
                return None
        else:
            self.failed("no answer", now)
            return None
        self._due_at = now + LOOK_S
        return None

    def answered(self, answer: Exchange, origin: Address, now: float) -> bytes | None:
        """Take an answer; return what to ask at the ``data`` port, if that is next."""
        if answer.token != self.token or self._phase not in {"control", "data"}:
            return None
        if answer.command != ACCEPTED:
            self.failed("it declines", now)
        elif self._phase == "control" and origin == self.control:
            self._phase, self._due_at = "data", now + ANSWER_S
            return self._question()
        elif self._phase == "data" and origin == self.data:
            self._phase, self._retry_s, self._told = "open", FIRST_RETRY_S, ""
        return None

    @property
    def accepted(self) -> bool:
        """Whether the participant said yes on both ports, and was not lost since."""
        return self._phase == "open"

    def failed(self, why: str, now: float) -> None:
        """Rest before the next try; ``why`` goes to the log unless it has just been said."""
        if why != self._told:
            self._tell(f"no RTP-MIDI session with {self.peer} ({why}): trying on")
            self._told = why
        self._phase, self._due_at = "rest", now + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)

    def _ask(self, found: list[Address], now: float) -> bytes:
        self.control = found[self._tries % len(found)]
        host, port, *scope = self.control
        self.data = (host, int(port) + 1, *scope)
        self._tries += 1
        self.token, self.ssrc = (int.from_bytes(os.urandom(4), "big") for _ in range(2))
        self._phase, self._due_at = "control", now + ANSWER_S
        return self._question()

    def _question(self) -> bytes:
        return Exchange(INVITATION, self.token, self.ssrc, self._name).encode()

    def _look_up(self) -> None:
        """Find the addresses, which may take seconds, in a thread of its own."""
        flags = socket.AI_V4MAPPED | socket.AI_ALL if self._family == socket.AF_INET6 else 0
        try:
            found = socket.getaddrinfo(self._host, self._port, self._family, socket.SOCK_DGRAM, flags=flags)
            self._found = [(str(address[0]), *address[1:]) for *_, address in found]
        except (OSError, UnicodeError) as error:
            self._found = getattr(error, "strerror", None) or str(error)
