from __future__ import annotations

from refusion.tracking.views.keys import SHEET, is_sheet


def test_a_sheet_is_told_by_its_key_whatever_a_pair_is_called() -> None:
    assert all(is_sheet(key) for key in (f"{SHEET}/validation", f"IVIF/{SHEET}/IVIF"))
    assert not any(is_sheet(key) for key in (f"fused/{SHEET}/a", f"weights/{SHEET}", "fused/sheets/a"))
