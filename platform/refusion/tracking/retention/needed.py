"""Folders of runs that registered models need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient, MlflowException
from sqlalchemy.exc import SQLAlchemyError

from refusion.errors import UserError
from refusion.tracking.database import sqlite_file
from refusion.tracking.failures import reason_of
from refusion.tracking.registry import CANDIDATE
from refusion.tracking.runs import PARENT_TAG, STORAGE_TAG
from refusion.tracking.store import http_retry_limits, redacted, require_store


def needed_folders(uri: str) -> set[str]:
    """Returns the folders of jobs and sweeps that hold a version with an alias, such as ``best``, or the files of one.

    Other versions have their files in MLflow's own place, and need no folder of a run; nor does the one that is
    ``candidate`` for being the newest.

    Args:
        uri: of the store; an SQLite file that is not there has no registry, so that nothing is needed.

    Raises:
        UserError: the store cannot be read.
    """
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        return set()
    require_store(uri)
    client = MlflowClient(tracking_uri=uri)
    needed: set[str] = set()
    try:
        with http_retry_limits(retries=1, seconds=15):
            for model in _all(client.search_registered_models):
                named = {str(number) for alias, number in model.aliases.items() if alias != CANDIDATE}
                for version in _all(client.search_model_versions, f"name = '{model.name}'"):
                    folder = _job_folder(client, version.run_id)
                    if folder and (str(version.version) in named or _lies_in(version.source, folder)):
                        needed.add(folder)
    except (MlflowException, OSError, SQLAlchemyError) as error:
        raise UserError(
            f"the MLflow store {redacted(uri)} cannot say which runs its registered models need ({reason_of(error)}); "
            "nothing is deleted until it can"
        ) from error
    return needed


def _all(search: Callable[..., Any], *query: str) -> Iterator[Any]:
    """Yields all pages of one of the client's searches."""
    page = search(*query)
    yield from page
    while page.token:
        page = search(*query, page_token=page.token)
        yield from page


def _job_folder(client: MlflowClient, run_id: str | None) -> str:
    """Returns the folder of the job or sweep that a run belongs to; empty where none is known."""
    if not run_id:
        return ""
    try:
        tags = client.get_run(run_id).data.tags
        if PARENT_TAG in tags:
            tags = client.get_run(tags[PARENT_TAG]).data.tags
    except MlflowException as error:
        # Deleted for good, which says nothing of its folder.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return ""
    return str(tags.get(STORAGE_TAG, ""))


def _lies_in(source: str | None, folder: str) -> bool:
    return bool(source) and str(source).removeprefix("file://").startswith(f"{folder.rstrip('/')}/")
