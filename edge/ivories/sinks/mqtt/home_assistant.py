"""The one message that makes a piano appear in Home Assistant as a device with its entities."""

from collections.abc import Sequence
from typing import Any


def discovery_topic(prefix: str, device: str) -> str:
    """Return where Home Assistant, listening below ``prefix``, expects the description of ``device``."""
    return f"{prefix}/device/ivories_{device}/config"


def discovery(
    device: str,
    base: str,
    version: str,
    policies: Sequence[str] = (),
    dynamics: Sequence[str] = (),
    *,
    takes: bool = False,
) -> dict[str, Any]:
    """Return the description of piano ``device``.

    Args:
        device: name of the piano.
        base: what its topics begin with.
        version: of Ivories.
        policies: to choose from; none where it takes no commands.
        dynamics: the same; none where it has one sense only.
        takes: it saves takes on command.
    """
    entities: dict[str, dict[str, Any]] = {
        "playing": {
            "platform": "binary_sensor",
            "name": "Playing",
            "icon": "mdi:piano",
            "state_topic": f"{base}/keys",
            "value_template": "{{ 'ON' if value_json.pressed else 'OFF' }}",
        },
        "keys_down": {
            "platform": "sensor",
            "name": "Keys down",
            "state_class": "measurement",
            "state_topic": f"{base}/keys",
            "value_template": "{{ value_json.pressed | count }}",
            "json_attributes_topic": f"{base}/keys",
        },
        "pedal": {
            "platform": "binary_sensor",
            "name": "Sustain pedal",
            "state_topic": f"{base}/pedal",
            "value_template": "{{ 'ON' if value_json.down else 'OFF' }}",
        },
        # One state change per note is much for a household's history: offered, but off at first.
        "note": {
            "platform": "event",
            "name": "Note",
            "enabled_by_default": False,
            "event_types": ["onset", "offset", "pedal"],
            "state_topic": f"{base}/note",
            "value_template": (
                "{{ {'event_type': value_json.kind, 'note': value_json.name, "
                "'velocity': value_json.velocity} | tojson }}"
            ),
        },
        "delay": {
            "platform": "sensor",
            "name": "Decision delay",
            "entity_category": "diagnostic",
            "enabled_by_default": False,
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_topic": f"{base}/note",
            "value_template": "{{ value_json.delay_ms }}",
        },
        **_diagnostics(base),
        **(_commands(base, policies) if policies else {}),
        **(_dynamics(base, dynamics) if dynamics else {}),
        **(_takes(base) if takes else {}),
    }
    for name, entity in entities.items():
        entity["unique_id"] = f"ivories_{device}_{name}"
    return {
        "device": {
            "identifiers": [f"ivories_{device}"],
            "name": device,
            "manufacturer": "Ivories",
            "model": "Piano",
            "sw_version": version,
        },
        "origin": {"name": "Ivories", "sw_version": version},
        "availability_topic": f"{base}/status",
        "qos": 1,
        "components": entities,
    }


def _diagnostics(base: str) -> dict[str, dict[str, Any]]:
    """Return the entities that show the figures of the topic ``stats``."""
    shared = {"platform": "sensor", "entity_category": "diagnostic", "state_topic": f"{base}/stats"}
    counts = {"notes": "Notes", "retractions": "Notes taken back", "dropped": "Events dropped"}
    health = {"microphone": "mdi:microphone", "camera": "mdi:camera"}
    return {
        name: shared | {
            "name": shown,
            "state_class": "total_increasing",
            "value_template": f"{{{{ value_json.{name} }}}}",
        }
        for name, shown in counts.items()
    } | {
        f"{sensor}_health": shared | {
            "name": f"{sensor.capitalize()} health",
            "icon": icon,
            "state_class": "measurement",
            "unit_of_measurement": "%",
            "value_template": f"{{{{ (100 * value_json.health.get('{sensor}', 0)) | round }}}}",
        }
        for sensor, icon in health.items()
    }  # fmt: skip


def _choice(base: str, command: str, shown: str, icon: str, options: Sequence[str]) -> dict[str, Any]:
    """Return the entity that shows and sets one of several words."""
    return {
        "platform": "select",
        "name": shown,
        "entity_category": "config",
        "icon": icon,
        "state_topic": f"{base}/{command}",
        "command_topic": f"{base}/set/{command}",
        "options": list(options),
    }


def _commands(base: str, policies: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        "policy": _choice(base, "policy", "Decision policy", "mdi:timer-cog-outline", policies),
        "panic": {
            "platform": "button",
            "name": "All notes off",
            "icon": "mdi:volume-off",
            "command_topic": f"{base}/set/panic",
            "payload_press": "PRESS",
        },
    }


def _dynamics(base: str, dynamics: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {"dynamics": _choice(base, "dynamics", "Dynamics", "mdi:tune-vertical", dynamics)}


def _takes(base: str) -> dict[str, dict[str, Any]]:
    return {
        "save_take": {
            "platform": "button",
            "name": "Save take",
            "icon": "mdi:content-save-outline",
            "command_topic": f"{base}/set/take",
            "payload_press": "PRESS",
        },
        "last_take": {
            "platform": "sensor",
            "name": "Last take",
            "icon": "mdi:file-music-outline",
            "state_topic": f"{base}/take",
            "value_template": "{{ value_json.name }}",
            "json_attributes_topic": f"{base}/take",
        },
    }
