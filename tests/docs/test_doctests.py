"""Examples in docstrings run, and every name of the API page has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pydoc
import re
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "platform"
MODULES = sorted(
    ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCES / "refusion").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


# Functions that cannot show themselves in a few quick lines, and why.
WITHOUT = {"refusion.networks.load_published": "needs one of the authors' files"}


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


def test_modules_that_users_call_have_examples() -> None:
    images = {f"refusion.images.{name}" for name in ("colour", "crops", "dataset", "pairs", "reading", "store")}
    others = {"metrics.suite", "metrics.lookup", "baselines.catalogue", "fuse.pictures", "fuse.loading"}
    others |= {"tasks", "objectives", "import_path"}
    assert images | {f"refusion.{name}" for name in others} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    said: list[str] = []
    for test in examples_of(module):
        runner.run(test, out=said.append)
    found = runner.summarize(verbose=False)
    assert found.attempted > 0
    assert found.failed == 0, "".join(said)


@pytest.mark.parametrize("name", re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text("utf-8"), re.MULTILINE))
def test_what_is_called_has_an_example(name: str) -> None:
    found = pydoc.locate(name)
    assert found is not None
    if inspect.isfunction(found) or (isinstance(found, type) and issubclass(found, nn.Module)):
        assert (">>> " in (found.__doc__ or "")) is (name not in WITHOUT)
