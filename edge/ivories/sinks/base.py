"""What every way out offers."""

from typing import Protocol, runtime_checkable

from ivories.controls import Controls
from ivories.datatypes import KeyState, NoteEvent


class Sink(Protocol):
    """Takes notes and key states at once. ``send`` never blocks the music for longer than a port write.

    As soon as it knows when the bytes of an event left, it enters that into ``event.left_ns`` under its name,
    from whatever thread. A sink whose events wait for the end of a take, as in a file, enters nothing.
    """

    name: str

    def send(self, event: NoteEvent, state: KeyState) -> None:
        """Let one event out; ``state`` is the key state after it."""
        ...

    def release_all(self) -> None:
        """Let every sounding note end, whatever was sent before."""
        ...

    def close(self) -> None:
        """Release all notes, flush, free; calling again does nothing."""
        ...


@runtime_checkable
class Guarded(Protocol):
    """A sink that lets all notes go when the application makes no progress any more."""

    def beat(self) -> None:
        """Tell that the application's main loop turns; to be called at least every 0.1 s once begun."""
        ...


@runtime_checkable
class Steering(Protocol):
    """A sink through which the instrument can be read and commanded from outside."""

    def attach(self, controls: Controls) -> None:
        """Use ``controls`` from now on, from any thread."""
        ...


@runtime_checkable
class Discardable(Protocol):
    """A sink whose work is a file that is complete or not there at all."""

    def discard(self) -> None:
        """Close without leaving a file under the final name."""
        ...
