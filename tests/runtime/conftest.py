"""One object store for the tests that need one, which each finds empty and well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clouds.object_store import Store, emptied, object_store


@pytest.fixture(scope="session")
def _store() -> Iterator[Store]:
    with object_store() as store:
        yield store


@pytest.fixture
def store(_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return emptied(_store, tmp_path / "home", monkeypatch)
