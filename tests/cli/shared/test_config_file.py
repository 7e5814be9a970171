from __future__ import annotations

from pathlib import Path

import pytest
from clouds.object_store import emptied, object_store

from refusion.cli.train import read_request
from refusion.errors import UserError


def test_a_file_of_settings_may_lie_in_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"schedule: {epochs: 7}\n"
    (tmp_path / "best.yaml").write_bytes(content)
    with object_store() as store:
        emptied(store, tmp_path / "home", monkeypatch).put("sweeps/one/best.yaml", content)
        near, far = (
            read_request(["--config", file]) for file in (str(tmp_path / "best.yaml"), "s3://ours/sweeps/one/best.yaml")
        )
        assert near.changes == far.changes == [{"schedule": {"epochs": 7}}, {}]
        with pytest.raises(UserError, match="--config s3://ours/sweeps: is a folder; name a file in it"):
            read_request(["--config", "s3://ours/sweeps"])
        with pytest.raises(UserError, match=r"--config s3://ours/none\.yaml: there is no object of this key"):
            read_request(["--config", "s3://ours/none.yaml"])
