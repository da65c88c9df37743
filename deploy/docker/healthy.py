"""Exit with 0 once a note of this piano has come through the broker; whoever calls it sets the time limit."""

import sys
from pathlib import Path

from paho.mqtt import MQTTException, subscribe

from ivories.config import load_config
from ivories.errors import IvoriesError
from ivories.sinks.mqtt.access import read_password


def main() -> int:
    """Wait for a note; 1 when the broker cannot be asked."""
    try:
        config = load_config(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
        mqtt = config.mqtt
        login = {"username": mqtt.username, "password": read_password(mqtt.password_file)}
        note = subscribe.simple(
            f"{mqtt.prefix}/{config.device.name}/note", hostname=mqtt.host, port=mqtt.port, auth=login
        )
    except (IvoriesError, MQTTException, OSError) as error:
        print(f"no note comes through the broker: {error}")
        return 1
    print(note.payload.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
