"""Pictures of a task's run in MLflow: their names, and reading them back."""

from __future__ import annotations

from refusion.tracking.settings import safe_name


def source_file(pair: str, side: str) -> str:
    """Returns the artifact that holds a pair's source, ``a`` or ``b``."""
    return f"{safe_name(f'sources/{pair}/{side}', 110)}.png"
