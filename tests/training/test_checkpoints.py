from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

from refusion.checksums import CHECKSUMS_FILE
from refusion.config.network import NetworkSettings
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.fuse import load_module
from refusion.meta.state import TrainingState
from refusion.training.checkpoints import load_checkpoint, read_metrics, save_checkpoint


def trained(settings: Settings) -> TrainingState:
    """A state that no fresh one equals: other weights, moments of Adam, counters."""
    state = TrainingState(settings.model_copy(update={"seed": 9}), "IVIF")
    for module, adam in ((state.fusion, state.fusion_adam), (state.reconstruction, state.reconstruction_adam)):
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        adam.step()
        adam.zero_grad()
    state.outer.add([torch.ones_like(parameter) for parameter in state.loss_proposal.parameters()], 0.1)
    state.epoch, state.meta_steps, state.fusion_steps, state.best_score = 1, 2, 3, 0.25
    return state


@pytest.fixture
def folder(tmp_path: Path, tiny: Settings) -> Path:
    save_checkpoint(tmp_path, trained(tiny), tiny, "IVIF", {"Qabf": 0.5})
    return tmp_path


def test_a_checkpoint_has_the_files_that_others_rely_on(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "fusion.safetensors",
        "loss_proposal.safetensors",
        "metrics.json",
        "reconstruction.safetensors",
        "settings.yaml",
        "state.pt",
    ]


def test_a_checkpoint_comes_back_bit_by_bit(folder: Path, tiny: Settings) -> None:
    state, saved = TrainingState(tiny, "IVIF"), trained(tiny)
    load_checkpoint(folder, state)
    for name, module in state.modules().items():
        torch.testing.assert_close(module.state_dict(), saved.modules()[name].state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(state.progress(), saved.progress(), rtol=0, atol=0)


def test_settings_are_kept_with_the_task(folder: Path, tiny: Settings) -> None:
    content = yaml.safe_load((folder / "settings.yaml").read_text())
    assert content.pop("task") == "IVIF"
    assert Settings.model_validate(content) == tiny


def test_measurements_are_kept(folder: Path, tmp_path: Path) -> None:
    assert read_metrics(folder) == {"epoch": 1, "Qabf": 0.5}
    (tmp_path / "metrics.json").unlink()
    assert read_metrics(tmp_path) == {}


def test_the_fusion_module_of_a_checkpoint_can_be_applied(folder: Path, tiny: Settings) -> None:
    sources = torch.rand(1, 2, 16, 16)
    expected = trained(tiny).fusion(sources)
    assert torch.equal(load_module(folder)(sources), expected)


def test_weights_can_be_read_without_us(folder: Path) -> None:
    weights = safetensors.torch.load_file(str(folder / "fusion.safetensors"))
    assert weights["project_in_1.weight"].shape == (8, 1, 3, 3)


@pytest.mark.parametrize("name", ["fusion.safetensors", "loss_proposal.safetensors", "state.pt"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
@pytest.mark.parametrize("older", [False, True])
def test_a_damaged_checkpoint_is_refused_by_the_files_name(
    folder: Path, tiny: Settings, name: str, damage: str, older: bool
) -> None:
    path = folder / name
    if older:
        (folder / CHECKSUMS_FILE).unlink()
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "other": b"no checkpoint at all"}[damage])
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder, TrainingState(tiny, "IVIF"))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_other_settings_is_refused(folder: Path, tiny: Settings) -> None:
    wider = tiny.model_copy(update={"network": NetworkSettings(width=16, heads=4, blocks=1, reconstruction_width=8)})
    with pytest.raises(UserError, match=r"fusion\.safetensors: is no checkpoint of these settings"):
        load_checkpoint(folder, TrainingState(wider, "IVIF"))


@pytest.mark.parametrize("change", [{"outer": None}, {"epoch": "many"}, {"fusion_adam": {}}])
def test_progress_of_something_else_is_refused(folder: Path, tiny: Settings, change: dict[str, object]) -> None:
    torch.save({**trained(tiny).progress(), **change}, folder / "state.pt")
    (folder / CHECKSUMS_FILE).unlink()
    with pytest.raises(UserError, match=r"state\.pt: is no progress of these settings"):
        load_checkpoint(folder, TrainingState(tiny, "IVIF"))


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_nothing_is_unpickled(folder: Path, tiny: Settings) -> None:
    mark = folder / "sprung"
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the trap itself works"
    mark.unlink()
    torch.save({"epoch": Trap(mark)}, folder / "state.pt")
    (folder / CHECKSUMS_FILE).unlink()
    with pytest.raises(UserError, match=r"state\.pt: is damaged, or holds more than tensors"):
        load_checkpoint(folder, TrainingState(tiny, "IVIF"))
    assert not mark.exists()
