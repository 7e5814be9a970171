from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from foreign_networks import Tiny

from refusion.errors import UserError
from refusion.networks import FusionModule
from refusion.tracking.loading import load_module
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.registry import Version
from refusion.tracking.runs import start_job_run

SIZES = {"width": 8, "heads": 2, "blocks": 1, "expansion": 2}

MakeVersion = Callable[..., Version]


@pytest.fixture
def module(checkpoint: Path) -> FusionModule:
    """A module whose weights and sizes the checkpoint holds."""
    torch.manual_seed(0)
    module = FusionModule(**SIZES)
    safetensors.torch.save_file(module.state_dict(), str(checkpoint / "fusion.safetensors"))
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": SIZES}))
    return module


def record(uri: str, experiment: str, checkpoint: Path, version: MakeVersion) -> str:
    run_id = start_job_run(uri, experiment, "loading", {}, {})
    TaskRecorder(uri, run_id).model(checkpoint, version("MIF", run_id))
    return run_id


def test_a_folder_a_file_and_mlflows_addresses_give_the_same_module(
    uri: str, experiment: str, checkpoint: Path, module: FusionModule, version: MakeVersion
) -> None:
    run_id = record(uri, experiment, checkpoint, version)
    addresses = (checkpoint, checkpoint / "fusion.safetensors", "models:/refusion-MIF@best", f"runs:/{run_id}")
    for address in addresses:
        loaded = load_module(address, tracking_uri=uri)
        torch.testing.assert_close(loaded.state_dict(), module.state_dict(), rtol=0, atol=0)
        assert not loaded.training


def test_what_is_not_there_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no model models:/refusion-NONE@best"):
        load_module("models:/refusion-NONE@best", tracking_uri=uri)
    with pytest.raises(UserError, match=r"there is no fusion\.safetensors"):
        load_module(tmp_path / "nothing")


def test_a_registered_models_code_runs_only_when_it_is_trusted(
    uri: str, experiment: str, checkpoint: Path, version: MakeVersion
) -> None:
    safetensors.torch.save_file(Tiny().state_dict(), str(checkpoint / "fusion.safetensors"))
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"network": {"kind": "foreign_networks:Tiny"}}))
    record(uri, experiment, checkpoint, version)
    address = "models:/refusion-MIF/latest"
    with pytest.raises(UserError, match="its network is foreign_networks:Tiny"):
        load_module(address, tracking_uri=uri)
    for trust in (True, ["foreign_networks:Tiny"]):
        assert isinstance(load_module(address, tracking_uri=uri, trust_code=trust), Tiny)
