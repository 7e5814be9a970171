"""The library of compiled code: made of all its sources, built once, or not at all for a reason in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import refusion.ops.native.library as library
from refusion.ops.backend import configure


def test_all_sources_are_in_it_and_headers_come_first() -> None:
    folder = Path(library.__file__).with_name("csrc")
    assert set(library.SOURCES) == set(folder.iterdir())
    suffixes = [source.suffix for source in library.SOURCES]
    assert suffixes == sorted(suffixes, reverse=True)


@pytest.mark.usefixtures("native")
def test_it_is_built_once() -> None:
    assert library.library() is library.library()


def test_addresses_are_those_of_the_first_values() -> None:
    x = torch.arange(6.0).view(2, 3)
    assert library.pointer(x[1]).value == x.data_ptr() + 12
    assert list(library.pointers([x, None])) == [x.data_ptr(), None]


def test_what_stands_against_compiling_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def failing(_: object) -> None:
        tried.append(1)
        raise OSError("there is no compiler")

    monkeypatch.setattr(library, "shared_library", failing)
    library.compiled.cache_clear()
    try:
        assert [configure(compile=True).not_compiled for _ in range(2)] == ["there is no compiler"] * 2
    finally:
        library.compiled.cache_clear()
    assert len(tried) == 1
