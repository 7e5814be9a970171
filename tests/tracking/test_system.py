from __future__ import annotations

import subprocess
import sys
import types

import pytest

from refusion.tracking.system import system_metrics


def test_process_and_machine_are_measured() -> None:
    system_metrics()
    total = sum(number * number for number in range(2_000_000))
    metrics = system_metrics()
    assert total > 0
    assert all(name.startswith("system/") and isinstance(value, float) for name, value in metrics.items())
    assert metrics["system/process_cpu_percentage"] > 1
    assert 10 < metrics["system/process_memory_megabytes"] < 100_000
    assert 0 < metrics["system/system_memory_usage_percentage"] <= 100


def _fake_torch(initialised: bool, utilisation: object) -> types.SimpleNamespace:
    def measure() -> object:
        if isinstance(utilisation, Exception):
            raise utilisation
        return utilisation

    cuda = types.SimpleNamespace(
        is_initialized=lambda: initialised,
        memory_allocated=lambda: 3e6,
        max_memory_allocated=lambda: 5e6,
        memory_reserved=lambda: 8e6,
        utilization=measure,
    )
    return types.SimpleNamespace(cuda=cuda)


def test_cuda_is_measured_once_it_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", _fake_torch(False, 40))
    assert not any("gpu" in name for name in system_metrics())
    monkeypatch.setitem(sys.modules, "torch", _fake_torch(True, 40))
    metrics = system_metrics()
    assert metrics["system/gpu_memory_allocated_megabytes"] == 3.0
    assert metrics["system/gpu_peak_memory_allocated_megabytes"] == 5.0
    assert metrics["system/gpu_utilization_percentage"] == 40.0


@pytest.mark.parametrize("error", [ModuleNotFoundError("pynvml"), RuntimeError("no driver")])
def test_utilisation_is_left_out_where_it_cannot_be_had(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setitem(sys.modules, "torch", _fake_torch(True, error))
    metrics = system_metrics()
    assert "system/gpu_utilization_percentage" not in metrics
    assert metrics["system/gpu_memory_reserved_megabytes"] == 8.0


@pytest.mark.gpu
def test_real_device() -> None:
    import torch

    held = torch.zeros(1_000_000, device="cuda")
    assert system_metrics()["system/gpu_memory_allocated_megabytes"] >= 4.0
    assert held.numel() == 1_000_000


def test_processes_that_train_import_neither_mlflow_nor_what_draws() -> None:
    """Each of them would take a second longer to start, beside which stands what records for them."""
    modules = "refusion.training.worker, refusion.search.trials.trainable, refusion.training.record.recording as r"
    code = f"import sys, {modules}, refusion.tracking.system as s; s.system_metrics(); "
    code += "r.TaskRecorder('sqlite:///no.db', 'run', r.Path.cwd() / 'waiting').finish(); "
    left_out = {"mlflow", "sqlalchemy", "alembic", "matplotlib", "skimage.segmentation", "scipy"}
    code += f"print(*sorted({left_out} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
