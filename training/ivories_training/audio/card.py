"""The audio section of the model cards, from a manifest."""

from collections.abc import Mapping
from typing import Final

from ivories.inference.manifest import Manifest

FALSE_NOTES: Final = "false_per_10_s"
_COLUMNS: Final = {
    "f1": "F1 50 ms",
    "f1_25ms": "25 ms",
    "f1_offset": "with end",
    "f1_velocity": "with velocity",
    "frame_f1": "sounding keys F1",
    "velocity_r": "velocity r",
    "velocity_r_within": "within takes",
    "delay_mean_ms": "delay mean",
    "delay_p95_ms": "p95",
}


def audio_card(manifest: Manifest) -> str:
    """Return Markdown: what the network hears, what it learned from, how well it does."""
    horizons = ", ".join(str(c.horizon * 10) for c in manifest.channels if c.kind == "onset")
    return (
        f"## {manifest.name}\n\n"
        f"Hears: audio features every 10 ms -> onset at {horizons} ms, sounding, key-up and velocity of "
        f"88 keys, sustain pedal. {manifest.parameters:,} parameters, int8, streaming.\n\n"
        f"Trained on: {'; '.join(manifest.trained_on)}.{score_tables(manifest.scores)}"
    )


def score_tables(scores: Mapping[str, float]) -> str:
    """Return the scores (``material/policy/measure`` -> value) as Markdown tables; nothing of no scores."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in scores.items():
        if name.count("/") < 2:
            continue  # of an older kind
        material, policy, measure = name.rsplit("/", 2)
        found.setdefault((material, policy), {})[measure] = value
    notes = [
        f"| {material} | {policy} | {' | '.join(_cell(m, at) for m in _COLUMNS)} |"
        for (material, policy), at in found.items()
        if "f1" in at
    ]
    false = [
        f"| {material} | {policy} | {at[FALSE_NOTES]:.2f} |"
        for (material, policy), at in found.items()
        if FALSE_NOTES in at
    ]
    text = ""
    if notes:
        text += (
            "\n\nThe int8 file through the device's own stages, ear alone. Onset F1 within 50 and 25 ms; "
            "delay from the acoustic onset to the decision.\n\n"
            + _head("material", "policy", *_COLUMNS.values())
            + "\n".join(notes)
        )
    if false:
        text += "\n\n" + _head("without a piano", "policy", "false notes per 10 s") + "\n".join(false)
    return text


def _head(*names: str) -> str:
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n"


def _cell(measure: str, at: Mapping[str, float]) -> str:
    if measure not in at:
        return ""
    return f"{at[measure]:.0f} ms" if measure.endswith("_ms") else f"{at[measure]:.3f}"
