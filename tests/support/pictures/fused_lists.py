"""The list and the pictures of a folder that was fused into."""

from __future__ import annotations

import pandas as pd

from refusion.fusing.request import Request


def listed(request: Request) -> pd.DataFrame:
    """Returns the rows of the list as texts, by output."""
    return pd.read_csv(request.out / "fused.csv", index_col="output", keep_default_na=False, dtype=str)


def stamps(request: Request) -> dict[str, int]:
    """Returns when each picture was written, by name."""
    return {file.name: file.stat().st_mtime_ns for file in request.out.glob("[!.]*.png")}
