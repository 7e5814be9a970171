"""The rules of the house that no linter knows: who may import whom, sizes, words, the folder `platform/`."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from house_rules import ANYWHERE, OLD_DEFINITIONS, OLD_WORDS, ONLY_IN, RANKS, STANDS_ON, STILL
from source_tree import (
    FOLDERS,
    ROOT,
    definitions_of,
    docstrings_of,
    identifiers_of,
    imports_of,
    private_names_of,
    python_files,
    source_files,
    text_of,
    tree_of,
    words_of,
)

SOURCES = ROOT / "platform"
PACKAGE = Path("platform/refusion")
MOST_LINES = 300
MOST_FILES = 16
NO_BEGINNING = re.compile(r"(What|Whether|How|Who|Where|Those)\b")
# An entry of STILL that is mended is an error from then on, so that the list only shrinks.
STRICT = True


def hold(rule: str, found: set[str]) -> None:
    """Fail for what breaks a rule, except for the entries of STILL, which have to be needed."""
    allowed = STILL.get(rule, set())
    assert not found - allowed, f"{rule}: {sorted(found - allowed)}"
    mended = allowed - found
    if mended and STRICT:
        pytest.fail(f"{rule}: mended, so take it out of STILL in tests/support/house_rules.py: {sorted(mended)}")
    elif mended:
        warnings.warn(f"{rule}: mended: {sorted(mended)}", stacklevel=2)


@cache
def modules() -> dict[str, Path]:
    """Dotted name and file of every module of the package."""
    return {
        ".".join(path.relative_to("platform").with_suffix("").parts).removesuffix(".__init__"): path
        for path in python_files()
        if path.is_relative_to(PACKAGE)
    }


def part(module: str) -> str:
    """The package's part that a module belongs to: images for refusion.images.pairs, nothing for refusion itself."""
    return module.split(".")[1] if "." in module else ""


def parts_used(of: str) -> dict[str, set[str]]:
    """For every module of a part, the other parts that it imports."""
    known = {part(module) for module in modules()} - {""}
    return {
        module: {part(name) for name in imports_of(path) if name.startswith("refusion.")} & known - {of}
        for module, path in modules().items()
        if part(module) == of
    }


def place(path: Path) -> str:
    """The part of the house that a file lies in: platform/refusion/ops, tests/ops, analysis/benchmarks, jobs."""
    depth = 3 if path.is_relative_to(PACKAGE) else 2
    return "/".join(path.parent.parts[:depth])


@pytest.mark.parametrize("folder", FOLDERS)
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
    assert Path(ours) == ROOT / PACKAGE / "__init__.py"


def test_every_part_has_a_rank() -> None:
    assert {part(module) for module in modules()} - {""} == set(RANKS)


def test_imports_point_down() -> None:
    found = {
        f"{of} → {used}"
        for of in RANKS
        for parts in parts_used(of).values()
        for used in parts
        if RANKS[used] >= RANKS[of]
    }
    hold("imports", found)


@pytest.mark.parametrize("of", STANDS_ON)
def test_the_lower_floors_stand_only_on_what_lies_below(of: str) -> None:
    used = parts_used(of)
    assert used, f"there is no {of} any more: change this test with the design"
    for module, parts in used.items():
        assert parts <= STANDS_ON[of], f"{module} imports {sorted(parts - STANDS_ON[of])}"


@pytest.mark.parametrize("outside", ONLY_IN)
def test_ray_and_mlflow_are_imported_only_where_they_belong(outside: str) -> None:
    users = {
        module for module, path in modules().items() if any(name.split(".")[0] == outside for name in imports_of(path))
    }
    assert users
    assert {part(module) for module in users} <= ONLY_IN[outside], sorted(users)


def test_tracking_knows_nothing_of_training_and_training_nothing_of_search() -> None:
    assert not any(parts & {"training", "search"} for parts in parts_used("tracking").values())
    assert not any("search" in parts for parts in parts_used("training").values())


def test_analysis_never_imports_training() -> None:
    # Benchmarks run what they measure.
    for path in python_files():
        if path.parts[0] == "analysis" and "benchmarks" not in path.parts:
            assert not any(name.startswith("refusion.training") for name in imports_of(path)), path


def test_jobs_only_call_a_function() -> None:
    """A job is a docstring, imports, a line for sys.path and one call."""
    jobs = [path for path in python_files() if path.parts[0] == "jobs"]
    assert jobs
    for path in jobs:
        _, *statements = tree_of(path).body
        *before, last = [node for node in statements if not isinstance(node, ast.Import | ast.ImportFrom)]
        assert [ast.unparse(node).split("(")[0] for node in before] == ["sys.path.insert"], path
        assert isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'", path
        assert len(last.body) == 1 and isinstance(last.body[0], ast.Expr), path


def test_there_is_no_import_cycle() -> None:
    graph = {module: (imports_of(path) & modules().keys()) - {module} for module, path in modules().items()}
    # A package's __init__ that offers its own modules' names is no cycle unless they import it back.
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(graph)


def test_private_names_of_ray_stand_in_one_file() -> None:
    internals = (PACKAGE / "runtime" / "ray_internals.py", Path("tests/runtime/test_ray_internals.py"))
    users = {path for path in python_files() if path not in internals and private_names_of(path, "ray")}
    hold("ray's private names", {str(path) for path in users})


def test_files_are_short() -> None:
    hold("lines", {str(path) for path in source_files() if text_of(path).count("\n") > MOST_LINES})


def test_folders_are_small() -> None:
    sizes = Counter(path.parent for path in source_files())
    hold("files in a folder", {str(folder) for folder, count in sizes.items() if count > MOST_FILES})


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    bad = Counter(place(path) for path in python_files() for _, text in docstrings_of(path) if NO_BEGINNING.match(text))
    hold("docstrings", set(bad))


def contains(words: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    return any(words[at : at + len(phrase)] == phrase for at in range(len(words) - len(phrase) + 1))


@pytest.mark.parametrize(("old", "new", "places", "fine"), OLD_WORDS, ids=[row[0] for row in OLD_WORDS])
def test_names_are_the_fields(old: str, new: str, places: tuple[str, ...], fine: set[str]) -> None:
    """Identifiers of these folders use the new word; `fine` are names that mean something else or are a setting's."""
    found = {
        place(path)
        for path in python_files() + [path for path in source_files() if path.suffix in (".cpp", ".h")]
        if str(path).startswith(places)
        for name in identifiers_of(path) - fine
        if contains(words_of(name), words_of(old))
    }
    hold(f"{old}, now {new}", found)


@pytest.mark.parametrize(("old", "new", "places"), OLD_DEFINITIONS, ids=[row[0] for row in OLD_DEFINITIONS])
def test_modules_and_classes_have_the_fields_names(old: str, new: str, places: tuple[str, ...]) -> None:
    found = {
        place(path)
        for path in python_files()
        if str(path).startswith(places)
        for name in definitions_of(path)
        if contains(words_of(name), words_of(old))
    }
    hold(f"{old}, now {new}", found)


@pytest.mark.parametrize("word", ANYWHERE)
def test_words_that_nobody_needs_stand_nowhere(word: str) -> None:
    pattern = re.compile(rf"(?<![A-Za-z]){word}(?![a-z])", re.IGNORECASE)
    pages = [path.relative_to(ROOT) for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]
    files = [path for path in (*source_files(), *pages) if path.name != "house_rules.py"]
    hold(f"{word} in any text", {place(path) or str(path) for path in files if pattern.search(text_of(path))})


def test_no_file_holds_an_unresolved_merge() -> None:
    pages = [*ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "jobs").rglob("*.yaml")]
    texts = {page: page.read_text(encoding="utf-8") for page in pages if page.suffix in (".md", ".yaml", ".toml")}
    assert len(texts) > 20
    assert not [page for page, text in texts.items() if re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.MULTILINE)]
