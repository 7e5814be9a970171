from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from refusion.errors import UserError
from refusion.images import builtin
from refusion.images.builtin import ensure_builtin
from refusion.images.pair_check import find_and_check
from refusion.images.store import PairStore
from refusion.tasks import TASKS


def _refuse_network(*_: object) -> None:
    raise AssertionError("the builtin data asked for the network")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _refuse_network)
        return ensure_builtin(tmp_path_factory.mktemp("builtin") / "set")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_has_good_pairs(made: Path, task: str) -> None:
    pictures: dict[str, set[str]] = {}
    for split, least in (("train", 8), ("val", 2)):
        pairs, problems, _, _ = find_and_check(made, task, split)
        assert not problems
        assert len(pairs) >= least
        pictures[split] = {pair.name.split("_", 1)[1] for pair in pairs}
        store = PairStore(pairs)
        for index, pair in enumerate(pairs):
            assert min(pair.height, pair.width) >= 140
            assert max(pair.height, pair.width) <= 256
            a, b = store.sources(index)
            assert min(a.std(), b.std()) > 0.02
            assert np.abs(a - b).mean() > 0.005
    assert not pictures["train"] & pictures["val"]


def test_the_set_is_small(made: Path) -> None:
    assert sum(len(data) for data in _contents(made).values()) < 10e6


def test_two_generations_are_equal(made: Path, tmp_path: Path) -> None:
    assert _contents(ensure_builtin(tmp_path / "again")) == _contents(made)


def test_a_whole_folder_is_left_alone(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _fail(_: Path) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(builtin, "_build", _fail)
    assert ensure_builtin(made) == made


def test_several_may_ask_at_once(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _copy(folder: Path) -> None:
        folder.mkdir()
        for name, data in _contents(made).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    monkeypatch.setattr(builtin, "_build", _copy)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(ensure_builtin, [tmp_path / "deep" / "set"] * 4))
    assert set(folders) == {tmp_path / "deep" / "set"}
    assert _contents(folders[0]) == _contents(made)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def _half(folder: Path) -> None:
        folder.mkdir()
        (folder / "half.png").touch()
        raise RuntimeError("out of luck")

    monkeypatch.setattr(builtin, "_build", _half)
    with pytest.raises(RuntimeError):
        ensure_builtin(tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_somebodys_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds something else"):
        ensure_builtin(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        ensure_builtin(tmp_path / "file" / "set")


def test_missing_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_PICTURES", tmp_path)
    with pytest.raises(UserError, match="scikit-image came without"):
        ensure_builtin(tmp_path / "set")
