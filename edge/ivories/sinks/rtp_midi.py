"""MIDI over the network: RTP-MIDI, as macOS and iOS have it built in, and Windows with rtpMIDI."""

import json
from collections.abc import Sequence
from typing import Final

from ivories.errors import ConfigError
from ivories.sinks.port.owned import OwnedPortSink
from ivories.sinks.port.owner import NETWORK
from ivories.sinks.rtp.door import network
from ivories.sinks.rtp.invitation import CONTROL_PORT, split_peer
from ivories.sinks.rtp.packets import LONGEST_NAME

LARGEST_PORT: Final = 65534
"""Of the control port: notes go by the one after it"""


class RtpMidiSink(OwnedPortSink):
    """Sends notes to the participants of RTP-MIDI sessions; ``ivories.sinks.rtp.node`` has the ports.

    Nobody there is not an error. Who comes is silenced first and then hears the keys as they are.
    """

    name = "rtp_midi"

    def __init__(
        self,
        *,
        allow: Sequence[str] = (),
        invite: Sequence[str] = (),
        port: int = CONTROL_PORT,
        session: str = "Ivories",
        channel: int = 0,
    ) -> None:
        """Open the UDP ports ``port`` and the one after it.

        Args:
            allow: addresses and networks from which a session may be opened, such as ``192.168.1.0/24``.
            invite: participants to open a session with: ``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``.
            port: UDP port 1..65534 for control.
            session: name that the participants see.
            channel: MIDI channel 0..15.

        Raises:
            ConfigError: an address, a participant or the port is none.
            SinkError: the ports cannot be opened.
        """
        if mistakes := address_mistakes(allow, invite):
            raise ConfigError("; ".join(mistakes))
        if not 0 < port <= LARGEST_PORT:
            raise ConfigError(f"rtp_midi.port = {port}: must be 1 to {LARGEST_PORT}")
        settings = {
            "port": port, "name": session[:LONGEST_NAME], "allow": list(allow), "invite": list(invite)
        }  # fmt: skip
        super().__init__(NETWORK + json.dumps(settings), label=f"RTP {port}", channel=channel)


def address_mistakes(allow: Sequence[str], invite: Sequence[str]) -> list[str]:
    """Return a sentence for each entry that is no address, or no participant."""
    mistakes = []
    for text in allow:
        try:
            network(text)
        except ValueError:
            mistakes.append(f"rtp_midi.allow: {text!r} is no address and no network such as 192.168.1.0/24")
    for text in invite:
        try:
            split_peer(text)
        except ValueError:
            mistakes.append(f"rtp_midi.invite: {text!r} is no HOST, HOST:PORT or [IPV6]:PORT")
    return mistakes
