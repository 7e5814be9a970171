"""The process that trains several trials of a sweep is lost: each of them goes on in another."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from broken.jobs import LIMIT, Place, wait_for
from sweep_jobs import job, records

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(LIMIT)]

EPOCHS = 5
BASE = {
    "schedule": {"epochs": EPOCHS, "meta_iterations": 2, "fusion_steps": 3},
    "images": {"crop": 16, "batch": 2},
    "network": {"width": 8, "heads": 4, "blocks": 1, "reconstruction_width": 8},
    "validation": {"images": 1, "pictures": 0},
    "objective": {"kind": "broken.parts:ending"},
    "threads": 1,
}


def swept(place: Place, file: Path, name: str) -> dict[int, dict[str, torch.Tensor]]:
    """Fusion modules of the trials of a sweep, all in one process."""
    text = job(
        "--config", file, "--data", place.data, "--trials", 2, "--search", "grid", "--scheduler", "none",
        "--trials-per-gpu", 4, "--run-name", name,
    )  # fmt: skip
    trials = records(place.home, name)
    assert {record.ended for record in trials.values()} == {"finished"}, text
    folders = {number: Path(record.checkpoints[EPOCHS]) / "IVIF" for number, record in trials.items()}
    return {n: safetensors.torch.load_file(folder / "fusion.safetensors") for n, folder in folders.items()}


def test_all_trials_of_a_lost_process_go_on_from_their_checkpoints(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    space = {"schedule.rate.value": [1e-3, 2e-3]}
    file.write_text(yaml.safe_dump({"base": BASE, "space": space, "sweep": {"task": ["IVIF"]}}))
    whole = swept(place, file, "whole")

    def strike() -> None:
        folder = place.home / "sweeps" / "torn"
        wait_for(lambda: len(list(folder.glob("part_*/*/checkpoint_*"))) >= 3)
        (place.faults / "end").touch()

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    torn = swept(place, file, "torn")
    thread.join()
    assert not (place.faults / "end").exists(), "the sweep ended before its fault"
    again = {number: record.restarts for number, record in records(place.home, "torn").items()}
    assert again == {0: 1, 1: 1, 2: 1}
    for number, weights in whole.items():
        assert all(torch.equal(weights[name], torn[number][name]) for name in weights), number
