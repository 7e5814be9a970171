"""Reads the repository's own source files for the tests of its rules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("platform", "jobs", "analysis", "cluster", "tests")
SOURCES = (".py", ".cpp", ".h", ".sh")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\"[^\"\n]*\"", re.DOTALL)


@cache
def source_files() -> tuple[Path, ...]:
    """Paths of all source files in FOLDERS, relative to the root, in order."""
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return tuple(sorted(path.relative_to(ROOT) for path in found if path.suffix in SOURCES))


@cache
def text_of(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path))


def python_files() -> list[Path]:
    return [path for path in source_files() if path.suffix == ".py"]


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports, wherever in it; `from package import name` counts as package.name too."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def docstrings_of(path: Path) -> Iterator[tuple[str, str]]:
    """(name, docstring) of the module and of every class and function that has one."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "name", "module"), text


@cache
def words_of(identifier: str) -> tuple[str, ...]:
    """The lower-case words of a name in snake case or camel case: (held, out) for held_out and HeldOut."""
    return tuple(word.lower() for word in _WORD.findall(identifier))


def names_in(node: ast.AST) -> Iterator[str]:
    """The names that one node writes: a variable, an attribute, a parameter, a keyword, a definition."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.arg | ast.keyword):
        yield node.arg or ""
    elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.alias):
        yield from (*node.name.split("."), node.asname or "")


@cache
def identifiers_of(path: Path) -> frozenset[str]:
    """All names in the code of a file, and the file's own; sentences of comments, strings and tests' names left out."""
    if path.suffix == ".py":
        found = {name for node in ast.walk(tree_of(path)) for name in names_in(node)}
    else:
        found = set(re.findall(r"[A-Za-z_]\w*", _COMMENT.sub("", text_of(path)))) if path.suffix != ".sh" else set()
    return frozenset({name for name in found if not name.startswith("test_")} | {path.stem.removeprefix("test_")})


@cache
def definitions_of(path: Path) -> frozenset[str]:
    """The names of a file's classes, and the file's own."""
    classes = {node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)}
    return frozenset(classes | {path.stem.removeprefix("test_")})


def private_names_of(path: Path, package: str) -> set[str]:
    """Private names of a package: imported ones, and attributes with a leading _ of what is imported from it."""
    found: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules = [alias for alias in node.names if alias.name.split(".")[0] == package]
            found |= {alias.name for alias in modules if "._" in alias.name}
            bound |= {alias.asname or package for alias in modules}
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == package:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in names if "._" in name}
            bound |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            base: ast.expr = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name) and base.id in bound:
                found.add(ast.unparse(node))
    return found
