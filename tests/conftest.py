"""Fixtures for every test: the real data beside the checkout, a GPU, a quiet number of threads, Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from distribution import rank_of, scheduler_of

from refusion.ops.backend import configure

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Ray cannot make its folder below a file, and the error that it raises repeats the path.
NO_RAY = "/dev/null/this test starts Ray and has no marker ray"


def pytest_configure() -> None:
    torch.set_num_threads(1)
    if not torch.cuda.is_available():
        # Read as Triton is imported, which others may do before the tests of its kernels.
        os.environ.setdefault("TRITON_INTERPRET", "1")
    # Also for fixtures that live longer than a test.
    configure(compile=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank_of(item.path))
    if "mlflow.store.db.utils" in sys.modules:
        from stored.tables import make_tables_once

        make_tables_once()
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return scheduler_of(config, log, ROOT)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    """Keep tests without the marker ``ray``, and the processes that they start, from starting Ray.

    After the last test of a directory its Ray ends (`one_ray`).
    """
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("ray") is None:
            patch.setenv("RAY_TMPDIR", NO_RAY)
        result = yield
    leaves = nextitem is None or nextitem.path.parent != item.path.parent
    if leaves and "ray" in sys.modules and (ray := sys.modules["ray"]).is_initialized():
        ray.shutdown()
    return result


def _folder(name: str) -> Path:
    path = SHARED / name
    if not path.is_dir():
        pytest.skip(f"needs ../shared/{name} beside the checkout")
    return path


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real image pairs, TASK/SPLIT/{a,b}."""
    return _folder("data")


@pytest.fixture(scope="session")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in scenes, which take two seconds to make. Tests only read them."""
    # Here, since most tests have no use for it.
    from refusion.images.builtin import ensure_builtin

    return ensure_builtin(tmp_path_factory.mktemp("builtin") / "pairs")


@pytest.fixture(scope="session")
def cases() -> Path:
    """Small inputs of public reports that went wrong once."""
    return _folder("cases")


@pytest.fixture(scope="session")
def published() -> Path:
    """The authors' weight files and what their network makes of some pairs."""
    return _folder("published")


@pytest.fixture(scope="session")
def evaluators() -> Path:
    """Scores that public evaluators return on small pairs."""
    return _folder("evaluators")


@pytest.fixture(autouse=True)
def backend_of_tests() -> Iterator[None]:
    """Each test begins without compiled code, in float32, and leaves to the next what it found."""
    with configure(compile=False):
        yield


def _compiled(how: Literal["native", "inductor"]) -> Iterator[None]:
    with configure(compile=how) as backend:
        if backend.not_compiled is not None:
            pytest.skip(f"nothing can be compiled here: {backend.not_compiled}")
        yield


@pytest.fixture
def inductor(backend_of_tests: None) -> Iterator[None]:
    """Formulas run as kernels of PyTorch's Inductor; skips where there is no compiler."""
    yield from _compiled("inductor")


@pytest.fixture
def native(backend_of_tests: None) -> Iterator[None]:
    """Operations run as our compiled code; skips where there is no compiler."""
    yield from _compiled("native")


@pytest.fixture
def bfloat16(backend_of_tests: None) -> Iterator[None]:
    """Wide maps are bfloat16, nothing is compiled; skips where the processor has no such arithmetic."""
    with configure(compile=False, precision="bfloat16") as backend:
        if backend.not_bfloat16 is not None:
            pytest.skip(backend.not_bfloat16)
        yield
