"""The table of settings that the site's build puts into docs/settings.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from refusion.config.layers import leaves
from refusion.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_table", ROOT / "docs" / "settings_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_setting_has_a_row_with_its_default(hook: ModuleType) -> None:
    rows = {line.split("`")[1]: line for line in hook.settings_table().splitlines() if line.startswith("| `")}
    assert len(rows) == len(list(leaves(Settings)))
    assert "| `1` | Ray Train workers" in rows["--workers"]
    assert "| `0` |" in rows["--seed"]
    assert "| `false` |" in rows["--gpu"]
    assert "| `–` |" in rows["--threads"]
    assert all(part in rows["--schedule.rate"] for part in ("kind: cosine", "value: 0.002", "end: 1e-06"))
    assert "| `IVIF MIF MFIF MEIF` |" in rows["--tasks"]


def test_the_page_gets_the_table(hook: ModuleType) -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    made = hook.on_page_markdown(page, page=None)
    assert hook.PLACE not in made
    assert "## validation" in made
    assert hook.on_page_markdown("another page", page=None) == "another page"
