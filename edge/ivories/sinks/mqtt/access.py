"""How to reach an MQTT broker, with secrets from files that only their owner can read."""

import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ivories.errors import ConfigError

Protocol = Literal["auto", "5", "3.1.1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where and how to connect."""

    host: str
    port: int
    username: str
    password: str
    tls: ssl.SSLContext | None
    keepalive_s: int
    protocol: Protocol

    def __repr__(self) -> str:
        """Show the address; never the password."""
        return f"{self.host}:{self.port}{' (TLS)' if self.tls else ''}"


def topic_base(prefix: str, device: str) -> str:
    """Return what all topics of ``device`` begin with; raises ConfigError for a name unfit for a topic."""
    for word, what in ((device, "device name"), (prefix, "prefix")):
        if not word or re.search(r"[+#\0]", word) or (what == "device name" and "/" in word):
            raise ConfigError(f"the MQTT {what} {word!r} cannot be part of a topic: leave out + # and /")
    return f"{prefix}/{device}"


def read_password(path: str) -> str:
    """Return the first line of the file ``path``; empty for an empty path.

    Raises:
        ConfigError: the file cannot be read, is not text, or others than its owner can read it.
    """
    if not path:
        return ""
    try:
        if stat.S_IMODE(Path(path).stat().st_mode) & 0o077:
            raise ConfigError(f"the password file {path} can be read by others: run 'chmod 600 {path}'")
        return Path(path).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except OSError as error:
        raise ConfigError(f"cannot read the password file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the password file {path} is not UTF-8 text: write it again") from error


def tls_context(ca_file: str, cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return TLS settings that check the broker's certificate and name.

    Args:
        ca_file: certificate authority to trust; empty for the system's.
        cert_file: client certificate; empty for none.
        key_file: key of the client certificate; empty when it is in ``cert_file``.

    Raises:
        ConfigError: a file is missing or not what it should be.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if cert_file:
            context.load_cert_chain(cert_file, key_file or None)
    except OSError as error:
        files = ", ".join(filter(None, (ca_file, cert_file, key_file)))
        raise ConfigError(f"cannot use the TLS files {files}: {error}") from error
    return context
