from __future__ import annotations

import atexit
import importlib
import logging
import threading
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType

import pytest

FILES, THREADS = 30, 20


@pytest.fixture(scope="module")
def samples() -> ModuleType:
    return importlib.import_module("samples")


def test_what_a_process_comes_to_hold_is_seen(samples: ModuleType, tmp_path: Path) -> None:
    places = samples.Places(tmp_path / "tmp", tmp_path / "session")
    places.temporary.mkdir()
    before = samples.sample(places)
    ended = threading.Event()
    threads = [threading.Thread(target=ended.wait) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    held = bytearray(b"x" * (200 << 20))
    atexit.register(ended.set)
    handler = logging.NullHandler()
    logging.getLogger("of a test").addHandler(handler)
    with ExitStack() as files:
        for number in range(FILES):
            files.enter_context((places.temporary / str(number)).open("w"))
        after = samples.sample(places)
    ended.set()
    for thread in threads:
        thread.join()
    atexit.unregister(ended.set)
    logging.getLogger("of a test").removeHandler(handler)
    grown = {name: after[name] - before[name] for name in after}
    assert grown["temporary files"] == FILES
    # What earlier tests left in this process may come and go meanwhile.
    assert abs(grown["driver: handles"] - FILES) < 5 and abs(grown["driver: threads"] - THREADS) < 5
    assert grown["driver: exit hooks"] == 1 and grown["driver: log handlers"] == 1
    assert grown["driver: MiB"] > 100 and len(held) == 200 << 20
    assert after["driver: processes"] == 1 and after["raylet: processes"] == 0
