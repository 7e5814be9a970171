"""A library is compiled once, found again, whole whenever it is there; what goes wrong is one line."""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
from pathlib import Path

import pytest
import torch

from refusion.ops.native import build as compiler
from refusion.ops.native.build import shared_library

DOUBLED = 'extern "C" int doubled(int x) { return 2 * x; }\n'
TRIPLED = 'extern "C" int tripled(int x) { return doubled(x) + x; }\n'


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    try:
        compiler._compiler()
    except OSError as error:
        pytest.skip(str(error))
    paths = [tmp_path / "doubled.h", tmp_path / "tripled.cpp"]
    for path, text in zip(paths, (DOUBLED, TRIPLED), strict=True):
        path.write_text(text)
    return paths


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run."""
    commands: list[list[str]] = []

    def noting(command: list[str], **options: object) -> object:
        commands.append(command)
        return run(command, **options)  # type: ignore[call-overload]

    run = subprocess.run
    monkeypatch.setattr(compiler.subprocess, "run", noting)
    return commands


def test_files_are_one_source_and_the_library_is_found_again(
    sources: list[Path], tmp_path: Path, compiled: list[list[str]]
) -> None:
    cache = tmp_path / "deep" / "cache"
    for _ in range(2):
        library = shared_library(sources, cache)
        assert (library.doubled(4), library.tripled(4)) == (8, 12)
    assert len(compiled) == 1
    (built,) = cache.iterdir()
    assert built.suffix == ".so"
    assert stat.S_IMODE(cache.stat().st_mode) & 0o077 == 0


def test_other_sources_and_other_processors_have_libraries_of_their_own(
    sources: list[Path], tmp_path: Path, compiled: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_library(sources, tmp_path / "cache")
    sources[0].write_text(DOUBLED.replace("2 * x", "x + x"))
    shared_library(sources, tmp_path / "cache")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr(compiler.platform, "machine", lambda: "x86_64")
    shared_library(sources, tmp_path / "cache")
    assert len(compiled) == len(list((tmp_path / "cache").iterdir())) == 3
    assert not any(word.startswith("-march") for word in compiled[-1])


def test_the_usual_place_is_the_users_cache(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert isinstance(shared_library(sources), ctypes.CDLL)
    assert len(list((tmp_path / "xdg" / "refusion").iterdir())) == 1


def test_where_nothing_can_be_written_it_is_made_elsewhere(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert shared_library(sources, tmp_path / "file" / "cache").doubled(1) == 2


def test_a_place_of_somebody_else_is_not_trusted(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert shared_library(sources, tmp_path / "cache").doubled(1) == 2
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_place_that_others_may_write_to_is_not_trusted_and_said(
    sources: list[Path], tmp_path: Path, compiled: list[list[str]], caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    """Though it exists already and holds the very library."""
    cache = tmp_path / "cache"
    shared_library(sources, cache)
    cache.chmod(mode)
    assert shared_library(sources, cache).tripled(2) == 6
    assert len(compiled) == 2
    assert f"{cache}: others may write to it" in caplog.text
    cache.chmod(0o700)
    shared_library(sources, cache)
    assert len(compiled) == 2


def test_an_error_of_the_compiler_is_one_line_and_leaves_nothing(sources: list[Path], tmp_path: Path) -> None:
    sources[1].write_text("nonsense;\n")
    with pytest.raises(OSError, match=r"ended with status \d+: .*error: .*nonsense") as caught:
        shared_library(sources, tmp_path / "cache")
    assert len(str(caught.value).splitlines()) == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_named_compiler_is_used_or_missed(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[list[str]]
) -> None:
    (found,) = compiler._compiler()
    monkeypatch.setenv("CXX", found)
    shared_library(sources, tmp_path / "cache")
    assert compiled[0][0] == found
    # Behind a launcher, which is a second word.
    launcher = tmp_path / "ccache"
    launcher.write_text('#!/bin/sh\nexec "$@"\n')
    launcher.chmod(0o755)
    monkeypatch.setenv("CXX", f"{launcher} {found}")
    assert shared_library(sources, tmp_path / "cache").doubled(1) == 2
    assert compiled[1][:2] == [str(launcher), found]
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(OSError, match=r"^there is no C\+\+ compiler /nowhere/c\+\+ \(CXX\)$"):
        shared_library(sources, tmp_path / "cache")


def test_without_any_compiler_their_names_are_said(sources: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(OSError, match=r"^there is no C\+\+ compiler \(c\+\+, g\+\+, clang\+\+\)$"):
        shared_library(sources)
