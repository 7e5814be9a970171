"""Keys of recorded pictures; without MLflow, since whoever trains names them and should not pay for its import."""

from __future__ import annotations

SHEET = "sheet"
"""First part of the key of a sheet of pictures, which is to be read in its tile."""


def is_sheet(key: str) -> bool:
    """Returns true for the key of a sheet, also of a trial of several tasks.

    >>> is_sheet("sheet/IVIF"), is_sheet("IVIF/sheet/IVIF"), is_sheet("fused/sheet/a")
    (True, True, False)
    """
    return SHEET in key.split("/")[:2] and not key.startswith(("fused/", "weights/"))
