from __future__ import annotations

from pathlib import Path

import pytest

from refusion.cli import presets
from refusion.cli.presets import settings_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["quick", "published", "sweep-schedules", "sweep-pbt"])
def test_a_preset_is_found_by_its_name(name: str) -> None:
    assert settings_file(Path(name)) == ROOT / "jobs" / "presets" / f"{name}.yaml"


def test_an_installation_finds_them_where_it_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_FOLDERS", (tmp_path / "jobs", tmp_path / "share"))
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "quick.yaml").touch()
    assert settings_file(Path("quick")) == tmp_path / "share" / "quick.yaml"


def test_a_path_stays_one_even_where_it_has_a_presets_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick").touch()
    for given in ("quick", "my.yaml", "folder/quick", "unknown"):
        assert settings_file(Path(given)) == Path(given)
