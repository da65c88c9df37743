"""Who may open an RTP-MIDI session from outside: addresses that the configuration allows, and nobody else.

The protocol knows no password. What comes from another address is not answered, and its bytes are not read.
"""

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

from ivories.sinks.rtp.packets import Exchange
from ivories.sinks.rtp.session import Address, Participant

_STRANGERS: Final = 16  # that the log tells of
_KNOCKING: Final = 8

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(text: str) -> Network:
    """Return what ``text`` names, ``192.168.1.20`` or ``fe80::/10``; raises ``ValueError``."""
    return ipaddress.ip_network(text, strict=False)


class Door:
    """Remembers who asked at the control port until they ask at the data port too.

    Args:
        allowed: as for ``network``.
        tell: called with a sentence for the log, once for each stranger.
    """

    def __init__(self, allowed: Iterable[str], tell: Callable[[str], None]) -> None:
        self._allowed = [network(text) for text in allowed]
        self._tell = tell
        self._knocking: dict[int, tuple[Exchange, Address]] = {}  # by SSRC
        self._strangers: set[str] = set()

    def open_to(self, origin: Address) -> bool:
        """Return whether what comes from ``origin`` may be listened to."""
        address = ipaddress.ip_address(str(origin[0]).partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._allowed):
            return True
        if len(self._strangers) < _STRANGERS and str(address) not in self._strangers:
            self._strangers.add(str(address))
            self._tell(f"{address} asked for RTP-MIDI and got no answer: rtp_midi.allow does not name it")
        return False

    def knocked(self, asked: Exchange, origin: Address) -> None:
        """Take note of an invitation at the control port."""
        self._knocking[asked.ssrc] = asked, origin
        if len(self._knocking) > _KNOCKING:
            del self._knocking[next(iter(self._knocking))]

    def entered(self, asked: Exchange, origin: Address) -> Participant | None:
        """Return who comes in with this invitation at the data port; None if they did not knock."""
        before, control = self._knocking.get(asked.ssrc, (None, ()))
        if before is None or before.token != asked.token or control[0] != origin[0]:
            return None
        del self._knocking[asked.ssrc]
        name = asked.name or before.name
        return Participant(name, asked.ssrc, asked.token, control, origin, invited=False)
