"""Where the files that came with this release lie: the models, and the bundled take."""

import sys
from pathlib import Path

from ivories.errors import ModelError, SourceError

_PACKAGE = Path(__file__).parent


def models_folder(configured: str = "") -> Path:
    """Return the folder of the models: the configured one, a checkout's ``models/``, or the installed one.

    Raises:
        ModelError: there is none.
    """
    if configured:
        folder = Path(configured).expanduser()
        if not folder.is_dir():
            raise ModelError(f"no models folder at {folder}: correct models.folder in the configuration")
        return folder
    places = (_PACKAGE.parents[1] / "models", Path(sys.prefix) / "share" / "ivories" / "models")
    for place in places:
        if any(place.glob("*.tflite")):
            return place
    raise ModelError(f"no models in {' or '.join(map(str, places))}: run make train-qat, or install again")


def bundled_take() -> Path:
    """Return the bundled take: a video with sound; the truth has the same name with ``.mid``.

    Raises:
        SourceError: it is not there.
    """
    take = _PACKAGE / "data" / "take.mp4"
    if not take.is_file():
        raise SourceError(f"the bundled take is missing at {take}: install Ivories again")
    return take
