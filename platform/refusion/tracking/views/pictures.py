"""Step-stamped pictures as MLflow's page shows them: the file, and the preview that stands in its tile."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A worker reads the key of sheets here, and each one would take seconds longer to start.
if TYPE_CHECKING:
    from mlflow import MlflowClient

SHEET = "sheet"
"""First part of the key of a sheet of pictures, which is to be read in its tile."""
# MLflow's previews have 256 pixels, in which nobody reads a sheet's labels.
_PREVIEW_SIDE, _QUALITY = 1600, 85
# Set by MLflow too; without it the page does not look for pictures.
_LOGGED_TAG = "mlflow.loggedImages"


def is_sheet(key: str) -> bool:
    """Returns true for the key of a sheet, also of a trial of several tasks.

    >>> is_sheet("sheet/IVIF"), is_sheet("IVIF/sheet/IVIF"), is_sheet("fused/sheet/a")
    (True, True, False)
    """
    return SHEET in key.split("/")[:2] and not key.startswith(("fused/", "weights/"))


def log_readable(client: MlflowClient, run_id: str, pixels: NDArray[np.uint8], key: str, step: int, stamp: int) -> None:
    """Writes a picture as ``MlflowClient.log_image`` does, with a preview that is as large as the picture.

    Args:
        client, run_id: of the run.
        pixels: (H, W) or (H, W, 3); the preview has at most 1600 pixels a side.
        key: letters, figures and ``_ - . /`` and spaces.
        step: the epoch.
        stamp: milliseconds since 1970.
    """
    image = Image.fromarray(pixels)
    name = f"{re.sub('/', '~', key)}+step+{step}+timestamp+{stamp}+{uuid.uuid4()}"
    preview = image.copy()
    preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    with TemporaryDirectory(prefix="refusion-picture-") as folder:
        image.save(Path(folder) / f"{name}.png", optimize=True)
        preview.save(Path(folder) / f"{name}+compressed.webp", quality=_QUALITY)
        client.log_artifacts(run_id, folder, "images")
    client.set_tag(run_id, _LOGGED_TAG, True)
