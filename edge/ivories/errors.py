"""Everything Ivories raises on purpose: one root, one class per cause, each also a builtin.

The message of such an error is a sentence for the user: what happened, where, and what to do.
"""


class IvoriesError(Exception):
    """Root of all errors with a message for the user."""


class ConfigError(IvoriesError, ValueError):
    """The configuration or the command line is wrong (exit status 2)."""


class BackendError(IvoriesError, RuntimeError):
    """A named back-end (source, sink, inference) cannot be used on this machine."""


class SourceError(IvoriesError, OSError):
    """A sensor or a file cannot be opened or read."""


class SinkError(IvoriesError, OSError):
    """A way out (MIDI port, broker, file) cannot be opened or written."""


class CommandError(IvoriesError, ValueError):
    """A command to the running instrument is unknown, malformed or cannot be obeyed."""


class ModelError(IvoriesError, ValueError):
    """A model file, its manifest or its front-end fingerprint does not fit."""


class CalibrationError(IvoriesError, ValueError):
    """The keyboard was not found, or a calibration file does not fit the picture."""
