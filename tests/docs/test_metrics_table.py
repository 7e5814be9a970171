"""The table of metrics that the site's build puts into docs/metrics.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from refusion.metrics import CATALOGUE
from refusion.metrics.listing import markdown_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_on_metrics_gets_the_table() -> None:
    spec = importlib.util.spec_from_file_location("metrics_table", ROOT / "docs" / "metrics_table.py")
    assert spec is not None and spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert text.count(hook.PLACE) == 1
    page = hook.on_page_markdown(text)
    assert markdown_table() in page
    assert hook.PLACE not in page
    assert all(f"\n| {name} | " in page for name in CATALOGUE)
    assert hook.on_page_markdown("# Another page") == "# Another page"
    assert "docs/metrics_table.py" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
