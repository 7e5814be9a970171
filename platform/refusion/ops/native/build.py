"""Builds a shared library of C++ sources with the machine's compiler, once: afterwards it is found on disk.

Not by PyTorch's own ways: importing Inductor takes each process a second or two, and an extension's build that was
killed leaves a lock behind, on which all later processes would wait for ever. Here a library is written beside its
place and then moved to it, so that it is whole whenever it is there.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

_LOG = logging.getLogger(__name__)
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_COMPILERS = ("c++", "g++", "clang++")
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp")
# One multiply-add instruction for each; nobody looks at traps, errno or the sign of zero.
_MATHEMATICS = ("-ffp-contract=fast", "-fno-trapping-math", "-fno-math-errno", "-fno-signed-zeros")
# Levels of the architecture that all nodes with these instructions share, since a home folder may be one for all.
_LEVELS = {"AVX512": "-march=x86-64-v4", "AVX2": "-march=x86-64-v3"}


def shared_library(sources: Sequence[Path], cache: Path | None = None) -> ctypes.CDLL:
    """Library built from these files, one after the other as one source.

    Args:
        cache: folder of compiled libraries; `$XDG_CACHE_HOME/refusion` (`~/.cache/refusion`) unless given.

    Raises:
        OSError: there is no compiler, or the library cannot be written or loaded; the message is one line.
    """
    source = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    command = [*_compiler(), *_FLAGS, *_MATHEMATICS, *_level()]
    key = hashlib.sha256("\n".join([*command, platform.machine(), source]).encode()).hexdigest()[:32]
    folder = _folder(cache)
    path = folder / f"{key}.so"
    if not path.exists():
        _compile(command, source, path)
    return ctypes.CDLL(str(path))


def _compiler() -> list[str]:
    named = os.environ.get("CXX")
    # With a launcher before it, such as "ccache g++", or with options.
    for words in [shlex.split(named)] if named else [[name] for name in _COMPILERS]:
        found = shutil.which(words[0]) if words else None
        if found:
            return [found, *words[1:]]
    missing = f"{named} (CXX)" if named else f"({', '.join(_COMPILERS)})"
    raise OSError(f"there is no C++ compiler {missing}")


def _level() -> Iterator[str]:
    if platform.machine() in ("x86_64", "AMD64"):
        capability = torch.backends.cpu.get_cpu_capability()
        if capability in _LEVELS:
            yield _LEVELS[capability]


def _folder(cache: Path | None) -> Path:
    """Folder of this user alone, since what lies there is run; a new one where the usual place cannot be that."""
    folder = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "refusion"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        mine = found.st_uid == os.getuid() and os.access(folder, os.W_OK)
    except OSError:
        return _of_this_process()
    if mine and found.st_mode & _OTHERS_WRITE:
        _LOG.warning(
            "%s: others may write to it, so that compiled code there is not run; `chmod go-w` and empty it", folder
        )
        mine = False
    return folder if mine else _of_this_process()


def _of_this_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="refusion-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _compile(command: list[str], source: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        built = Path(place) / path.name
        done = subprocess.run(
            [*command, "-x", "c++", "-", "-o", str(built)], input=source, capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if "error" in line] or ["it gave no reason"]
            raise OSError(f"{command[0]} ended with status {done.returncode}: {lines[0]}")
        built.replace(path)
