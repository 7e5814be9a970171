from __future__ import annotations

from pathlib import Path

import pytest

from refusion.errors import UserError
from refusion.images.destinations import check_destination


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    for side in "ab":
        (tmp_path / "data" / side).mkdir(parents=True)
        (tmp_path / "data" / side / "x.png").touch()
    return [tmp_path / "data" / "a", tmp_path / "data" / "b"]


@pytest.mark.parametrize(
    ("out", "how"),
    [
        ("data/a", "is the source"),
        ("data/b/.", "is the source"),
        ("data", "holds the source"),
        (".", "holds the source"),
        ("data/b/fused/deep", "lies in the source"),
        ("data/c/../a/fused", "lies in the source"),
        ("link/fused", "lies in the source"),
    ],
)
def test_results_never_go_over_into_or_around_sources(tmp_path: Path, sources: list[Path], out: str, how: str) -> None:
    (tmp_path / "link").symlink_to(sources[0])
    with pytest.raises(UserError, match=f"--out .*{how}"):
        check_destination("--out", tmp_path / out, sources)


def test_a_file_is_a_source_too(tmp_path: Path, sources: list[Path]) -> None:
    file = sources[0] / "x.png"
    with pytest.raises(UserError, match="holds the source"):
        check_destination("--out", sources[0], [file])
    check_destination("--out", tmp_path / "data" / "fused", [file])


def test_a_result_never_takes_a_sources_place_through_a_link(tmp_path: Path, sources: list[Path]) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "y.png").touch()
    (sources[0] / "y.png").symlink_to(tmp_path / "kept" / "y.png")
    with pytest.raises(UserError, match="holds the source"):
        check_destination("--out", tmp_path / "kept", [sources[0] / "y.png"], [tmp_path / "kept" / "y.png"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x.png").symlink_to(sources[0] / "x.png")
    with pytest.raises(UserError, match="would overwrite pictures that are read"):
        check_destination("--out", tmp_path / "out", [sources[0] / "x.png"], [tmp_path / "out" / "x.png"])


def test_elsewhere_is_fine(tmp_path: Path, sources: list[Path]) -> None:
    check_destination("--out", tmp_path / "data" / "a2", sources, [tmp_path / "data" / "a2" / "x.png"])
