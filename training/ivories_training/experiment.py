"""An experiment's file becomes checked settings. No Keras here, so that a back-end can still be chosen."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ivories.errors import ConfigError

Settings = TypeVar("Settings")


def read(path: Path, kind: type[Settings] | Any, what: str) -> Settings:
    """Return the file's settings as ``kind``; what it does not name keeps its default.

    Args:
        path: of the file.
        kind: a struct or dataclass of structs or dataclasses, or a union of such.
        what: says what the file is, as in "a reference experiment".

    Raises:
        ConfigError: the file is missing, or a name or a value in it is wrong.
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
        settings = msgspec.convert(raw, kind)
    except OSError as error:
        raise ConfigError(f"{path}, which should be {what}, cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not {what}: {error}") from error
    if stranger := _stranger(raw, msgspec.to_builtins(settings)):
        raise ConfigError(f"{path} is not {what}: there is no setting `{stranger}`")
    return settings  # type: ignore[no-any-return]


def _stranger(raw: dict[str, Any], known: dict[str, Any], place: str = "") -> str | None:
    """Return the first name in ``raw`` that ``known`` lacks: a dataclass takes any, and would hide a slip."""
    for name, value in raw.items():
        if name not in known:
            return place + name
        if isinstance(value, dict) and isinstance(known[name], dict):
            within = _stranger(value, known[name], f"{place}{name}.")
            if within is not None:
                return within
    return None
