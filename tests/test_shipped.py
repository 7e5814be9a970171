"""Modules that come along: found by task, held to their cards, and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from shipped_modules import ship_tiny

import refusion
from refusion import shipped
from refusion.errors import UserError
from refusion.fuse import load_module, load_pretrained
from refusion.shipped import CARD_FILE, FUSION_FILE, read_card, shipped_folder, shipped_tasks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return ship_tiny(tmp_path / "pretrained", monkeypatch)


def test_a_tasks_module_is_found_whatever_the_case(folder: Path) -> None:
    assert shipped_tasks() == ["IVIF"]
    assert shipped_folder("ivif") == folder
    assert read_card(folder).task == "IVIF"


def test_it_is_loaded_as_the_checkpoint_that_it_is(folder: Path) -> None:
    images = torch.rand(1, 2, 16, 16)
    expected = load_module(folder)(images)
    for module in (
        load_pretrained("IVIF"),
        refusion.load_pretrained("IVIF"),
        refusion.load_module("pretrained", task="IVIF"),
    ):
        assert torch.equal(module(images), expected)
        assert not module.training


def test_a_task_without_a_module_says_what_to_do(folder: Path) -> None:
    with pytest.raises(UserError) as refused:
        load_pretrained("MIF")
    assert str(refused.value) == (
        "no trained module of MIF comes along with this version (there are: IVIF): train one by "
        "jobs/train_all_tasks.py --tasks MIF, and give its folder, RUN/MIF/best, as --checkpoint"
    )


def test_without_a_task_none_can_be_chosen(folder: Path) -> None:
    with pytest.raises(UserError, match="pretrained: a module comes along for each task; say which"):
        refusion.load_module("pretrained")


def test_a_file_that_is_not_the_cards_is_refused(folder: Path) -> None:
    content = bytearray((folder / FUSION_FILE).read_bytes())
    content[-1] ^= 1
    (folder / FUSION_FILE).write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"fusion\.safetensors: is not the file that card\.yaml describes"):
        load_pretrained("IVIF")
    (folder / FUSION_FILE).unlink()
    with pytest.raises(UserError, match=r"fusion\.safetensors: is not the file that card\.yaml describes"):
        load_pretrained("IVIF")


@pytest.mark.parametrize("content", ["task: IVIF", "[", "task: 3", ""])
def test_a_damaged_card_is_refused(folder: Path, content: str) -> None:
    (folder / CARD_FILE).write_text(content)
    with pytest.raises(UserError, match=r"card\.yaml: is no card of a trained module"):
        shipped_folder("IVIF")


def test_the_packages_own_folder_holds_only_whole_modules() -> None:
    for task in shipped_tasks():
        assert shipped_folder(task).parent == Path(shipped.__file__).parent / "pretrained"
