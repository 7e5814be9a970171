from __future__ import annotations

import importlib
import threading
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def samples() -> ModuleType:
    return importlib.import_module("samples")


def test_what_a_process_comes_to_hold_is_seen(samples: ModuleType, tmp_path: Path) -> None:
    places = samples.Places(tmp_path / "tmp", tmp_path / "session")
    places.temporary.mkdir()
    before = samples.sample(places)
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    held = bytearray(b"x" * (200 << 20))
    with (places.temporary / "left").open("w"), (places.temporary / "other").open("w"):
        after = samples.sample(places)
    ended.set()
    thread.join()
    grown = {name: after[name] - before[name] for name in after}
    assert grown["temporary files"] == 2 and grown["driver: handles"] == 2 and grown["driver: threads"] == 1
    assert grown["driver: MiB"] > 100 and len(held) == 200 << 20
    assert after["driver: processes"] == 1 and after["raylet: processes"] == 0
