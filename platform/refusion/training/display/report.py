"""The page that is written beside a run when it ends; who writes it stands above training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from refusion.runtime.failures import reason_of
from refusion.runtime.manifest import Manifest
from refusion.runtime.storage import Folder


@dataclass(frozen=True)
class Ended:
    """A job or a sweep that has ended.

    Attributes:
        tracking_uri, experiment, run_id: its run in MLflow.
        name, folder: its name and the place of its files.
    """

    tracking_uri: str
    experiment: str
    run_id: str
    name: str
    folder: Folder

    @staticmethod
    def of(manifest: Manifest, run_id: str) -> Ended:
        """Returns it from its manifest and its run in MLflow."""
        return Ended(manifest.tracking_uri, manifest.experiment, run_id, manifest.name, manifest.folder)


# Writes the page and returns its path, or its address in an object store.
Report = Callable[[Ended], str]


def written(report: Report | None, ended: Ended, console: Console) -> str | None:
    """Writes the page and returns its place; None where none is asked for, or none can be made, which is said."""
    if report is None:
        return None
    try:
        return report(ended)
    except Exception as error:  # noqa: BLE001 - hours of training must not end in a traceback for want of a page
        console.print(f"warning: no report could be written ({reason_of(error)})", markup=False, soft_wrap=True)
        return None
