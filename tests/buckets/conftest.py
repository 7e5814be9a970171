"""One object store for the folder's tests, which each find empty and well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clouds.object_store import Store, emptied, object_store

from refusion.buckets import staging


@pytest.fixture(scope="module")
def _store() -> Iterator[Store]:
    with object_store() as store:
        yield store


@pytest.fixture
def store(_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return emptied(_store, tmp_path / "home", monkeypatch)


@pytest.fixture
def pairs(store: Store) -> Store:
    for name in ("a/1.png", "b/1.png", "c/d/2.png"):
        store.put(f"pairs/{name}", name.encode() * 100)
    return store


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forgets what this process has checked and holds, so that it is as one that starts."""

    def forget() -> None:
        for held in staging._in_use.values():
            held.close()
        monkeypatch.setattr(staging, "_in_use", {})

    return forget
