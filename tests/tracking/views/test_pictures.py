from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from PIL import Image

from refusion.tracking.store import open_store
from refusion.tracking.views.pictures import log_readable


def test_a_readable_picture_is_kept_as_mlflow_keeps_its_own(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    experiment = open_store(uri, "study")
    client = MlflowClient(tracking_uri=uri)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 700, 3), dtype=np.uint8)
    patterns, sizes = [], []
    for write in ("ours", "mlflow"):
        run = client.create_run(experiment).info.run_id
        if write == "ours":
            log_readable(client, run, pixels, "sheet/validation", 3, 1000)
        else:
            client.log_image(run, pixels, key="sheet/validation", step=3, timestamp=1000, synchronous=True)
        assert client.get_run(run).data.tags["mlflow.loggedImages"] == "True"
        files = sorted(entry.path for entry in client.list_artifacts(run, "images"))
        patterns.append([re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", file) for file in files])
        whole, preview = (Image.open(client.download_artifacts(run, file, str(tmp_path))) for file in reversed(files))
        assert np.array_equal(np.asarray(whole), pixels)
        sizes.append(preview.size)
    assert patterns[0] == patterns[1]
    assert sizes == [(700, 90), (256, 32)]
