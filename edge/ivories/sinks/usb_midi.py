"""Raw MIDI out of a character device: on a Pi the port of the USB gadget that a laptop sees as a keyboard."""

from ivories.sinks.port.owned import OwnedPortSink


class UsbMidiSink(OwnedPortSink):
    """Sends notes into a device node; ``ivories.sinks.port.node`` tells what that lives through."""

    name = "usb_midi"

    def __init__(
        self, *, device: str = "auto", channel: int = 0, wait: bool = False, active_sensing: bool = False
    ) -> None:
        """Start the owner of ``device``: a path, or ``auto`` for the USB gadget's own port.

        Args:
            device: character device node.
            channel: MIDI channel 0..15.
            wait: start without the node and open it when it comes.
            active_sensing: send MIDI's active sensing, so that a receiver notices a dead line.

        Raises:
            SinkError: the node cannot be opened and ``wait`` is not set.
        """
        super().__init__(device, label=device, channel=channel, wait=wait, active_sensing=active_sensing)
