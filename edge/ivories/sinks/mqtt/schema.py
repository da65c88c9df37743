"""JSON schemas of the MQTT messages: ``python -m ivories.sinks.mqtt.schema FOLDER`` writes them."""

import json
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from ivories.sinks.mqtt.messages import MESSAGES, SCHEMA

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


_MORE: Final = {"set": "/NAME", "get": "/NAME"}  # levels after the name


def schemas() -> dict[str, dict[str, Any]]:
    """Return name of each topic -> schema of its payload, without references to other files."""
    return {
        name: {
            "$schema": _DIALECT,
            "$comment": f"topic PREFIX/DEVICE/{name}{_MORE.get(name, '')}, topic tree version {SCHEMA}",
            **msgspec.json.schema(kind),
        }
        for name, kind in MESSAGES.items()
    }


def files() -> dict[str, str]:
    """Return file name -> text of every schema."""
    return {f"{name}.schema.json": json.dumps(schema, indent=2) + "\n" for name, schema in schemas().items()}


def main(folder: str) -> None:
    """Write all schemas into ``folder``."""
    for name, text in files().items():
        (Path(folder) / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
