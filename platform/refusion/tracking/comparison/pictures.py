"""Pictures of a task's run in MLflow: their names, and reading them back."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from mlflow import MlflowClient
from numpy.typing import NDArray
from PIL import Image

from refusion.tracking.comparison.files import source_file
from refusion.tracking.epochs import epoch_of
from refusion.tracking.settings import safe_name
from refusion.tracking.store import no_progress_bar

Kind = Literal["fused", "weights"]
# As MLflow names a picture's file, whose key has a tilde for each slash.
_LOGGED = re.compile(r"images/(.+)\+step\+(\d+)\+timestamp\+\d+\+[^+]+\.png")


class RunPictures:
    """Pictures of one run, read when they are asked for.

    Args:
        uri, run_id: of the store and the run.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self._client = MlflowClient(tracking_uri=uri)
        self._run_id = run_id

    @cached_property
    def _logged(self) -> dict[tuple[str, int], str]:
        """Files by key and epoch; of an epoch that was recorded twice, the later."""
        tags = self._client.get_run(self._run_id).data.tags
        found: dict[tuple[str, int], str] = {}
        for path in sorted(entry.path for entry in self._client.list_artifacts(self._run_id, "images")):
            if logged := _LOGGED.fullmatch(path):
                found[logged[1], epoch_of(int(logged[2]), tags)] = path
        return found

    def epochs(self, kind: Kind, pair: str) -> list[int]:
        """Returns the epochs of which there is a picture of that pair, rising."""
        key = _key(kind, pair)
        return sorted(epoch for name, epoch in self._logged if name == key)

    def read(self, kind: Kind, pair: str, epoch: int) -> NDArray[np.uint8] | None:
        """Returns a picture, (H, W) or (H, W, 3); None where there is none."""
        path = self._logged.get((_key(kind, pair), epoch))
        return None if path is None else self._pixels(path)

    def fused(self) -> list[str]:
        """Returns the names of all fused pictures as MLflow keeps them, also of runs of several tasks, sorted."""
        names = {name for name, _ in self._logged}
        return sorted(name for name in names if "fused" in name.split("~")[:2])

    def newest(self, name: str) -> NDArray[np.uint8] | None:
        """Returns the newest picture of a name that ``fused`` returns; None where there is none."""
        epochs = [epoch for other, epoch in self._logged if other == name]
        return self._pixels(self._logged[name, max(epochs)]) if epochs else None

    def source(self, pair: str, side: Literal["a", "b"]) -> NDArray[np.uint8] | None:
        """Returns a pair's source, (H, W) or (H, W, 3); None where it was not recorded, as by an earlier version."""
        file = source_file(pair, side)
        folder = file.rpartition("/")[0]
        there = {entry.path for entry in self._client.list_artifacts(self._run_id, folder)}
        return self._pixels(file) if file in there else None

    def _pixels(self, path: str) -> NDArray[np.uint8]:
        with TemporaryDirectory(prefix="refusion-picture-") as folder, no_progress_bar():
            file = Path(self._client.download_artifacts(self._run_id, path, folder))
            with Image.open(file) as image:
                return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _key(kind: Kind, pair: str) -> str:
    return safe_name(f"{kind}/{pair}").replace("/", "~")
