"""The network end of RTP-MIDI: the sessions that are open at two UDP ports.

It stands in the place of ``ivories.sinks.port.node.PortNode`` behind a port owner, and has its shape. It
sends notes and takes none in.
"""

import json
import os
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ivories.errors import SinkError
from ivories.sinks.port.ledger import PortLedger
from ivories.sinks.rtp.door import Door
from ivories.sinks.rtp.invitation import Invitation
from ivories.sinks.rtp.packets import ACCEPTED, END, INVITATION, REJECTED, Clock, Exchange, Feedback, decode
from ivories.sinks.rtp.ports import Ports
from ivories.sinks.rtp.session import Address, Participant, Session

SESSIONS: Final = 8
"""More participants than these are declined"""
_MESSAGES: Final = 200  # in one packet, which so fits into an Ethernet frame
_REMEMBERED: Final = 32
_RETRY_S: Final = 0.2


class RtpNode:
    """Sends what it is told to every participant.

    Args:
        settings: JSON with ``port`` (control; notes go by the one after it), ``name``, ``allow`` (addresses
            and networks that may open a session) and ``invite`` (peers to open one with).
        channel: MIDI channel 0..15.
        tell: called with a sentence for the log.
    """

    def __init__(
        self, settings: str, *, channel: int = 0, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        chosen: dict[str, Any] = json.loads(settings)
        self._port: int = chosen["port"]
        self._name: str = chosen["name"]
        self._peers: list[str] = chosen["invite"]
        self._door = Door(chosen["allow"], tell)
        self._channel = channel
        self._tell = tell
        self._ledger = PortLedger(channel=channel)
        self._ports: Ports | None = None
        self._retry_at = 0.0
        self._ssrc = _lasting_ssrc(self._port)
        self._sessions: list[Session] = []
        self._earlier: dict[int, Session] = {}  # the last with each SSRC, over or not
        self._invitations: list[Invitation] = []
        self._releasing = False
        self.swallowed = 0
        """None here: the network takes everything, or loses it"""
        self.reopened = 0
        """Sessions so far"""

    @property
    def state(self) -> str:
        """``absent`` without a participant, ``full`` while the last ends go out again, else ``open``."""
        if not self._sessions:
            return "absent"
        waiting = self._releasing and not all(session.settled for session in self._sessions)
        return "full" if waiting else "open"

    @property
    def refused(self) -> int:
        """Packets that the system did not take; the journal of the next makes up for them."""
        return 0 if self._ports is None else self._ports.refused

    def open(self) -> None:
        """Take both ports; raises ``SinkError`` with what to do, its errno set."""
        self._ports = Ports(self._port)
        family = self._ports.family
        self._invitations = [
            Invitation(peer, family=family, name=self._name, tell=self._tell) for peer in self._peers
        ]

    def send(self, messages: bytes) -> None:
        """Let whole messages of three bytes out."""
        due = []
        for start in range(0, len(messages), 3):
            self._ledger.record(messages[start : start + 3])
            due += self._drained()
        self._releasing = self._releasing and not due
        self._play(due)

    def release_all(self) -> None:
        """Let every sounding note end."""
        self._ledger.release_all()
        self._releasing = True
        self._play(self._drained())

    def watched(self) -> dict[int, int]:
        """Return what to poll: descriptor -> events."""
        return {} if self._ports is None else self._ports.watched()

    def due_s(self) -> float | None:
        """Return in how many seconds ``handle`` wants to be called without an event; None = never."""
        times = [session.due() for session in self._sessions]
        times += [at for invitation in self._invitations if (at := invitation.due()) is not None]
        if self._ports is None:
            times = [self._retry_at]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def handle(self, happened: dict[int, int]) -> None:
        """Go on after poll told of ``happened``: descriptor -> events."""
        if self._ports is None:
            self._reopen()
            return
        for at_data, data, origin in self._ports.received(happened):
            if self._listens_to(origin):
                self._take(data, origin, time.monotonic(), at_data=at_data)
        now = time.monotonic()
        for session in list(self._sessions):
            if session.lost(now):
                self._part_with(session)
                self._leave(session, "says nothing any more", now)
            else:
                self._put(session, session.tick(now))
        for invitation in self._invitations:
            if (question := invitation.step(now)) is not None:
                self._ports.send_control(question, invitation.control)

    def close(self) -> None:
        """Say good-bye and give the ports back."""
        for session in self._sessions:
            self._part_with(session)
        self._sessions.clear()
        if self._ports is not None:
            self._ports.close()
            self._ports = None

    def _drained(self) -> list[bytes]:
        due: list[bytes] = []

        def take(message: bytes) -> bool:
            due.append(message)
            return True

        self._ledger.drain(take)
        return due

    def _play(self, messages: Sequence[bytes]) -> None:
        now = time.monotonic()
        for start in range(0, len(messages), _MESSAGES):
            for session in self._sessions:
                self._put(session, [session.send(messages[start : start + _MESSAGES], now)])

    def _put(self, session: Session, packets: Sequence[bytes]) -> None:
        for packet in packets:
            if self._ports is not None:
                self._ports.send_data(packet, session.participant.data)

    def _reopen(self) -> None:
        if time.monotonic() >= self._retry_at:
            try:
                self.open()
            except SinkError:
                self._retry_at = time.monotonic() + _RETRY_S

    # What arrives

    def _listens_to(self, origin: Address) -> bool:
        ends = [(s.participant.control, s.participant.data) for s in self._sessions]
        ends += [(i.control, i.data) for i in self._invitations]
        return any(origin in pair for pair in ends) or self._door.open_to(origin)

    def _take(self, data: bytes, origin: Address, now: float, *, at_data: bool) -> None:
        packet = decode(data)
        if packet is None:
            return
        session = self._session_of(packet.ssrc, origin)
        if isinstance(packet, Exchange) and packet.command == INVITATION:
            self._invited(packet, origin, now, at_data=at_data)
        elif isinstance(packet, Exchange) and packet.command != END:
            self._answered(packet, origin, now)
        elif session is None:
            if isinstance(packet, Clock) and packet.step == 0 and at_data and self._door.open_to(origin):
                self._disown(origin)
        elif isinstance(packet, Exchange):
            self._leave(session, "left", now)
        elif isinstance(packet, Clock):
            self._put(session, session.clock(packet, now))
        elif isinstance(packet, Feedback):
            session.feedback(packet.number, now)
        else:
            session.heard(now)

    def _session_of(self, ssrc: int, origin: Address) -> Session | None:
        for session in self._sessions:
            other = session.participant
            # Some name the stream that they tell of, and not themselves.
            if ssrc in {other.ssrc, session.ssrc} and origin in {other.control, other.data}:
                return session
        return None

    def _invited(self, asked: Exchange, origin: Address, now: float, *, at_data: bool) -> None:
        if not self._door.open_to(origin) or self._ports is None:
            return
        same = self._session_of(asked.ssrc, origin)
        answer = Exchange(ACCEPTED, asked.token, self._ssrc, self._name)
        if not at_data:
            # One session for one participant: of two, its feedback would not tell which it means.
            if (same is not None and same.participant.invited) or (
                same is None and len(self._sessions) >= SESSIONS
            ):
                answer = answer._replace(command=REJECTED)
            else:
                self._door.knocked(asked, origin)
            self._ports.send_control(answer.encode(), origin)
        elif (other := self._door.entered(asked, origin)) is not None:
            for session in [s for s in self._sessions if s.participant.data == origin]:
                self._leave(session, "starts again without a good-bye", now)
            self._ports.send_data(answer.encode(), origin)
            self._begin(other, self._ssrc, now)
        elif same is not None and same.participant.token == asked.token:  # our answer was lost
            self._ports.send_data(answer.encode(), origin)

    def _answered(self, answer: Exchange, origin: Address, now: float) -> None:
        for invitation in self._invitations:
            ends = (invitation.control, invitation.data)
            if origin not in ends or invitation.accepted or self._ports is None:
                continue
            if (question := invitation.answered(answer, origin, now)) is not None:
                self._ports.send_data(question, invitation.data)
            if invitation.accepted:
                for session in [s for s in self._sessions if s.participant.data == invitation.data]:
                    self._part_with(session)  # it called meanwhile
                    self._sessions.remove(session)
                other = Participant(answer.name, answer.ssrc, answer.token, *ends, invited=True)
                self._begin(other, invitation.ssrc, now)

    def _disown(self, origin: Address) -> None:
        """Tell one who believes to be in a session that it is over: it was with a process before this one."""
        host, port, *scope = origin
        if self._ports is not None and int(port) > 1:
            self._ports.send_control(Exchange(END, 0, self._ssrc).encode(), (host, int(port) - 1, *scope))

    # Sessions begin and end

    def _begin(self, other: Participant, ssrc: int, now: float) -> None:
        earlier = self._earlier.pop(other.ssrc, None)
        first = int.from_bytes(os.urandom(2), "big")
        if earlier is not None and earlier.ssrc == ssrc:  # numbers of one stream must not jump
            first = earlier.sequence
        session = Session(other, ssrc=ssrc, first=first, now=now, channel=self._channel)
        self._earlier[other.ssrc] = session
        if len(self._earlier) > _REMEMBERED:
            del self._earlier[next(iter(self._earlier))]
        self._sessions.append(session)
        self.reopened += 1
        self._tell(f"RTP-MIDI session with {_who(other)}")
        self._put(session, session.start(self._ledger.held(), now))

    def _leave(self, session: Session, why: str, now: float) -> None:
        self._sessions.remove(session)
        self._tell(f"the RTP-MIDI session with {_who(session.participant)} is over: it {why}")
        for invitation in self._invitations:
            if invitation.accepted and session.participant.invited and invitation.ssrc == session.ssrc:
                invitation.failed(f"it {why}", now)

    def _part_with(self, session: Session) -> None:
        if self._ports is not None:
            other = session.participant
            self._ports.send_control(Exchange(END, other.token, session.ssrc).encode(), other.control)


def _lasting_ssrc(port: int) -> int:
    """Return a number that is the same after a restart: those who missed the end still know it."""
    try:
        machine = Path("/etc/machine-id").read_bytes()
    except OSError:
        machine = socket.gethostname().encode()
    return zlib.crc32(machine + port.to_bytes(2, "big"))


def _who(other: Participant) -> str:
    return f"{other.name or 'somebody'} at {str(other.control[0]).removeprefix('::ffff:')}"
