from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import refusion
from refusion.errors import UserError
from refusion.import_path import IMPORT_FOLDERS, import_environment, import_folders, is_import_path, resolve

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory of each test; what was imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def module(folder: Path, request: pytest.FixtureRequest) -> Write:
    """Writes a module into the working directory; returns its name, which no other test uses."""

    def write(content: str) -> str:
        name = "users_" + "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
        (folder / f"{name}.py").write_text(content)
        return name

    return write


def refusal(path: str) -> str:
    with pytest.raises(UserError) as caught:
        resolve(path, "objective.kind")
    message = str(caught.value)
    assert message.startswith(f"--objective.kind {path}: ")
    assert "\n" not in message
    return message


def test_a_function_in_the_working_directory_is_found(module: Write) -> None:
    assert resolve(f"{module('def double(x): return 2 * x')}:double", "objective.kind")(4) == 8


def test_a_class_inside_a_package_and_a_dotted_attribute_are_found(folder: Path) -> None:
    (folder / "users_package" / "deep").mkdir(parents=True)
    (folder / "users_package" / "deep" / "nets.py").write_text("class Outer:\n    class Inner: pass\n")
    assert resolve("users_package.deep.nets:Outer.Inner", "network.kind").__qualname__ == "Outer.Inner"


def test_a_file_of_the_users_hides_no_installed_module(folder: Path) -> None:
    (folder / "json.py").write_text("raise RuntimeError('hidden')")
    assert resolve("json:loads", "objective.kind")("1") == 1


@pytest.mark.parametrize(
    "text", ["published", "a:", ":b", "a:b:c", "a-b:c", "1a:b", "a.:b", "a b:c", "", "a/b.py:c", "a..b:c", "a:b\n"]
)
def test_other_texts_are_no_import_paths(text: str) -> None:
    assert not is_import_path(text)
    with pytest.raises(UserError, match="write module:name"):
        resolve(text, "objective.kind")


def test_a_missing_module_says_where_it_was_looked_for(folder: Path) -> None:
    message = refusal("users_missing:loss")
    assert "there is no module 'users_missing'" in message
    assert str(folder) in message
    assert "PYTHONPATH" in message
    assert "there is no module 'json.users_missing'" in refusal("json.users_missing:loss")


def test_a_module_that_lacks_another_names_that_one(module: Write) -> None:
    name = module("import users_absent_package\n")
    message = refusal(f"{name}:loss")
    assert f"importing {name!r} fails with ModuleNotFoundError" in message
    assert "users_absent_package" in message
    assert f"{name}.py, line 1" in message


@pytest.mark.parametrize(
    ("content", "what"),
    [("x = 1 / 0", "ZeroDivisionError: division by zero"), ("def loss(:", "SyntaxError"), ("1 +\\\n\n", "SyntaxError")],
)
def test_a_module_that_fails_says_how(module: Write, content: str, what: str) -> None:
    name = module(content)
    message = refusal(f"{name}:loss")
    assert what in message
    assert f"{name}.py" in message


def test_a_missing_attribute_names_the_file_and_a_near_one(module: Write, folder: Path) -> None:
    name = module("def edge_loss(): pass")
    assert str(folder / f"{name}.py") in refusal(f"{name}:edges_loss")
    assert "did you mean 'edge_loss'?" in refusal(f"{name}:edges_loss")
    assert "define 'xyzzy' there" in refusal(f"{name}:xyzzy")


def test_what_cannot_be_called_is_refused(module: Write) -> None:
    assert "is of type float" in refusal(f"{module('loss = 0.5')}:loss")


def test_the_folders_are_absolute_and_named_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["relative", "/elsewhere", "", str(folder)]))
    assert import_folders() == [str(folder), str(folder / "relative"), "/elsewhere"]


def test_a_process_in_another_folder_finds_the_same_with_the_environment_it_is_given(
    module: Write, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = module("def answer(): return 42")
    program = f"from refusion.import_path import *; print(resolve('{name}:answer', 's')(), import_environment())"
    environment = import_environment()
    assert list(environment) == [IMPORT_FOLDERS]
    away = tmp_path_factory.mktemp("away")
    sources = str(Path(refusion.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {sources!r}); {program}"],
        env={**os.environ, **environment},
        cwd=away,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A process of a process is given the same folders.
    assert done.stdout.strip() == f"42 {environment}"
