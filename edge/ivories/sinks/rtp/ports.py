"""The two UDP ports of RTP-MIDI: one for control, the next one for notes and clocks."""

import errno
import select
import socket
from collections.abc import Iterator
from typing import Final

from ivories.errors import SinkError
from ivories.sinks.rtp.session import Address

_DATAGRAMS: Final = 32  # read at a time: a flood must not hold up the notes
_LARGEST: Final = 2048  # bytes of a datagram that are read


class Ports:
    """Both ports, open; nothing here ever waits.

    Args:
        control: number of the first.

    Raises:
        SinkError: one cannot be had; its errno is set, to ``EBUSY`` if it is taken.
    """

    def __init__(self, control: int) -> None:
        self.refused = 0
        """Packets that the system did not take"""
        self._links: list[socket.socket] = []
        try:
            for port in (control, control + 1):
                self._links.append(_udp(port))
        except OSError as error:
            self.close()
            told = SinkError(
                f"cannot open the UDP ports {control} and {control + 1} for RTP-MIDI ({error.strerror}): "
                "end what uses them, or choose another rtp_midi.port"
            )
            told.errno = errno.EBUSY if error.errno == errno.EADDRINUSE else error.errno
            raise told from error

    @property
    def family(self) -> int:
        """Of the addresses: ``AF_INET6``, or ``AF_INET`` on a computer without IPv6."""
        return self._links[0].family

    def watched(self) -> dict[int, int]:
        """Return what to poll: descriptor -> events."""
        return {link.fileno(): select.POLLIN for link in self._links}

    def received(self, happened: dict[int, int]) -> Iterator[tuple[bool, bytes, Address]]:
        """Yield what arrived, some at a time: whether at the data port, the bytes, from where."""
        for at_data, link in enumerate(self._links):
            for _ in range(_DATAGRAMS if link.fileno() in happened else 0):
                try:
                    data, origin = link.recvfrom(_LARGEST)
                except BlockingIOError:
                    break
                except OSError:  # the network's complaint about a packet sent before
                    continue
                yield bool(at_data), data, origin

    def send_control(self, packet: bytes, to: Address) -> None:
        """Send from the control port."""
        self._send(self._links[0], packet, to)

    def send_data(self, packet: bytes, to: Address) -> None:
        """Send from the data port."""
        self._send(self._links[1], packet, to)

    def close(self) -> None:
        """Give the ports back."""
        for link in self._links:
            link.close()

    def _send(self, link: socket.socket, packet: bytes, to: Address) -> None:
        try:
            link.sendto(packet, to)
        except OSError:
            self.refused += 1


def _udp(port: int) -> socket.socket:
    """Return a socket that takes what comes to ``port`` by IPv6 and IPv4, whatever this computer has."""
    host = "::"
    try:
        link = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        host = "0.0.0.0"  # noqa: S104  the door decides who is listened to
    try:
        link.setblocking(False)
        link.bind((host, port))
    except OSError:
        link.close()
        raise
    return link
