"""Write audio_golden.npz: what the audio front ends made of a known sound.

Run it after a change of the C code that is meant to change bits, with AUDIO_KERNEL_REVISION raised before.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from ivories import native
from ivories.audio.frontend import AudioFrontEnd
from signals import RATE, SPECS, melody

FILE = Path(__file__).parent / "audio_golden.npz"


def main():
    golden = {"revision": np.array(native.AUDIO_KERNEL_REVISION)}
    for name, spec in SPECS.items():
        front_end = AudioFrontEnd(spec)
        bins, level = front_end.process(melody(RATE))
        golden[f"{name}.fingerprint"] = np.array(front_end.fingerprint)
        golden[f"{name}.bins"] = bins[:: max(1, len(bins) // 40)]
        golden[f"{name}.level"] = level
    if FILE.exists():
        with np.load(FILE) as old:
            same = all(np.array_equal(old[key], golden[key]) for key in golden if key in old)
            if not same and old["revision"] == golden["revision"]:
                sys.exit(
                    "the front end gives other bits: raise AUDIO_KERNEL_REVISION in audio_frontend.h first"
                )
    np.savez_compressed(FILE, **golden)


if __name__ == "__main__":
    main()
