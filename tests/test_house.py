"""The rules of the house that no linter knows: the folder `platform/`, and who may import whom."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "platform"

# What each lower floor may stand on; the upper ones (tracking, training, search, …) are free to use all of these.
STANDS_ON = {
    "tasks": {"errors"},
    "import_path": {"errors"},
    "config": {"tasks", "errors", "import_path"},
    "objectives": {"errors"},
    "ops": {"errors"},
    "networks": {"config", "ops", "objectives", "errors", "import_path"},
    "images": {"config", "metrics", "tasks", "errors", "home"},
    "metrics": {"tasks", "errors"},
    "meta": {"config", "tasks", "errors", "objectives", "networks", "ops", "import_path"},
}

# Which part of the package may import what comes from outside.
ONLY_IN = {"ray": {"runtime", "training", "search", "evaluation"}, "mlflow": {"tracking"}}


@cache
def modules() -> dict[str, Path]:
    """Dotted name and file of every module of the package."""
    return {
        ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((SOURCES / "refusion").rglob("*.py"))
    }


def imported_names(path: Path) -> set[str]:
    """Every module that the file imports, wherever in it; `from package import name` counts as package.name too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            module = str(node.module)
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def part(module: str) -> str:
    """The package's part that a module belongs to: images for refusion.images.pairs."""
    return module.split(".")[1] if "." in module else ""


def parts_used(of: str) -> dict[str, set[str]]:
    """For every module of a part, the other parts that it imports."""
    known = {part(module) for module in modules()} - {""}
    return {
        module: {part(name) for name in imported_names(path) if name.startswith("refusion.")} & known - {of}
        for module, path in modules().items()
        if part(module) == of
    }


@pytest.mark.parametrize("folder", ["platform", "jobs", "analysis", "tests"])
def test_folders_that_are_no_packages_stay_so(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("folders", [[SOURCES], [ROOT, SOURCES]])
def test_the_folder_platform_hides_no_module(folders: list[Path]) -> None:
    """`ray job submit` puts the repository's root ahead of the standard library on sys.path."""
    program = (
        "import sys; sys.path.insert(0, ''); import platform, refusion, numpy; "
        "print(platform.system()); print(platform.__file__); print(refusion.__file__)"
    )
    # Another checkout may be the installed one.
    environment = {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    system, standard, ours = done.stdout.splitlines()
    assert system
    assert Path(standard).name == "platform.py"
    assert Path(ours) == SOURCES / "refusion" / "__init__.py"


@pytest.mark.parametrize("of", STANDS_ON)
def test_the_lower_floors_stand_only_on_what_lies_below(of: str) -> None:
    used = parts_used(of)
    assert used, f"there is no {of} any more: change this test with the design"
    for module, parts in used.items():
        assert parts <= STANDS_ON[of], f"{module} imports {sorted(parts - STANDS_ON[of])}"


@pytest.mark.parametrize("outside", ONLY_IN)
def test_ray_and_mlflow_are_imported_only_where_they_belong(outside: str) -> None:
    users = {
        module
        for module, path in modules().items()
        if any(name.split(".")[0] == outside for name in imported_names(path))
    }
    assert users
    assert {part(module) for module in users} <= ONLY_IN[outside], sorted(users)


def test_tracking_knows_nothing_of_training_and_training_nothing_of_search() -> None:
    assert not any(parts & {"training", "search"} for parts in parts_used("tracking").values())
    assert not any("search" in parts for parts in parts_used("training").values())


def test_analysis_never_imports_training() -> None:
    # Benchmarks run what they measure.
    for path in sorted(set((ROOT / "analysis").rglob("*.py")) - set((ROOT / "analysis" / "benchmarks").rglob("*.py"))):
        assert not any(name.startswith("refusion.training") for name in imported_names(path)), path


def test_there_is_no_import_cycle() -> None:
    graph = {module: (imported_names(path) & modules().keys()) - {module} for module, path in modules().items()}
    # A package's __init__ that offers its own modules' names is no cycle unless they import it back.
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)
