"""Moving of the alias ``best`` to a registered version by a paired test of its pictures' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from refusion.errors import UserError
from refusion.statistics import fewest_pictures, paired_tests
from refusion.tracking.comparison.runs import read_best
from refusion.tracking.comparison.scores import TRAINED, PictureScores
from refusion.tracking.epochs import epoch_of
from refusion.tracking.failures import reason_of
from refusion.tracking.models.version import origin, registered_name
from refusion.tracking.registry import BEST, CANDIDATE, versions_of_run
from refusion.tracking.relocation import follow_artifacts
from refusion.tracking.runs import PARENT_TAG, TASK_TAG
from refusion.tracking.store import http_retry_limits, redacted, require_store

LEVEL = 0.05


@dataclass(frozen=True)
class Promotion:
    """Comparison of a version with the one that has the alias.

    Attributes:
        name: of the registered model.
        number, holder: the versions; the holder is None where none has the alias.
        origins: of both in words, by number.
        tests: rows of ``statistics.paired_tests``, version − holder; None where they cannot be compared.
        why_not: the reason for which the alias should stay, a sentence; empty where it may move.
    """

    name: str
    number: str
    holder: str | None
    origins: Mapping[str, str]
    tests: pd.DataFrame | None
    why_not: str

    @property
    def already(self) -> bool:
        """True where the version has the alias."""
        return self.number == self.holder


def examine(
    uri: str,
    task: str,
    metrics: Mapping[str, bool],
    *,
    version: str | None = None,
    run: str | None = None,
) -> Promotion:
    """Compares a version with the holder of ``best``, picture by picture; changes nothing.

    Args:
        uri: of the store.
        task: its name.
        metrics: those that count, with True where higher is better; the metric that chose the version is added.
        version: its number; None for that of ``run``, or for the holder of ``candidate``.
        run: name of a job, or id of a task's run.

    Raises:
        UserError: there is no such version, or the store cannot be read.
    """
    require_store(uri)
    follow_artifacts(uri)
    name = registered_name(task)
    try:
        with http_retry_limits(retries=2, seconds=20):
            client = MlflowClient(tracking_uri=uri)
            aliases = {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()}
            number = version or (_of_run(client, name, task, run) if run else aliases.get(CANDIDATE))
            if number is None:
                raise UserError(f"--version: {name} has no {CANDIDATE}: name a version or a --run")
            new, holder = client.get_model_version(name, number), aliases.get(BEST)
            if holder is None or holder == number:
                return Promotion(name, number, holder, {number: _origin(new)}, None, "")
            old = client.get_model_version(name, holder)
            return _compared(client, task, new, old, metrics)
    except MlflowException as error:
        raise UserError(
            f"--task {task}: the version cannot be found in {redacted(uri)} ({reason_of(error)}): "
            "check --version and --tracking-uri"
        ) from error


def promote(uri: str, promotion: Promotion) -> None:
    """Moves ``best`` to the version."""
    MlflowClient(tracking_uri=uri).set_registered_model_alias(promotion.name, BEST, promotion.number)


def _of_run(client: MlflowClient, name: str, task: str, run: str) -> str:
    """Returns the newest version of a job's or a task's run."""
    for version in client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"]):
        if version.run_id is None:
            continue
        own = client.get_run(version.run_id)
        parent = own.data.tags.get(PARENT_TAG)
        names = {own.info.run_id, own.info.run_name}
        if parent is not None:
            names.add(client.get_run(parent).info.run_name)
        if run in names:
            return versions_of_run(client, name, version.run_id)[0]
    raise UserError(f"--run {run}: no version of {name} is of a run of that name ({TASK_TAG} {task})")


def _origin(version: ModelVersion) -> str:
    return origin(version.tags) or "registered by hand"


def _compared(
    client: MlflowClient, task: str, new: ModelVersion, old: ModelVersion, metrics: Mapping[str, bool]
) -> Promotion:
    origins = {str(version.version): _origin(version) for version in (new, old)}
    tables = [_scores(client, task, version) for version in (new, old)]
    tests, why = None, _not_comparable([new, old], tables)
    if not why:
        mine, theirs = (table.methods[TRAINED] for table in tables if table is not None)
        chosen = {**metrics, str(new.tags.get("score_name", "Qabf")): True}
        shown = [metric for metric in chosen if metric in mine and metric in theirs]
        tests = paired_tests(theirs[shown], {str(new.version): mine[shown]}, chosen)
        why = _worse(tests, str(new.tags.get("score_name", "Qabf")))
    return Promotion(str(new.name), str(new.version), str(old.version), origins, tests, why)


def _scores(client: MlflowClient, task: str, version: ModelVersion) -> PictureScores | None:
    """Returns a version's scores per picture; None where its run has kept none of that epoch."""
    if not version.run_id or "epoch" not in version.tags:
        return None
    found = read_best(client, version.run_id, task)
    same = found is not None and found.epoch == epoch_of(int(version.tags["epoch"]), version.tags)
    return found if same else None


def _not_comparable(versions: Sequence[ModelVersion], tables: Sequence[PictureScores | None]) -> str:
    for version, table in zip(versions, tables, strict=True):
        if table is None:
            return f"version {version.version} has no scores per picture, so that no paired test can be made"
    first, second = (table for table in tables if table is not None)
    if (first.digest, first.convention) != (second.digest, second.convention):
        return (
            f"version {versions[0].version} and version {versions[1].version} were scored on different pairs (digests "
            f"{first.digest[:8]} and {second.digest[:8]}), so that no paired test can be made"
        )
    return ""


def _worse(tests: pd.DataFrame, score: str) -> str:
    worse = tests[(tests["p_holm"] < LEVEL) & ~tests["better"]]
    if len(worse):
        return f"the paired test says worse in {', '.join(worse['metric'])} (Holm-corrected p below {LEVEL})"
    row = tests[tests["metric"] == score].iloc[0]
    least = fewest_pictures(len(tests), LEVEL)
    if row["pictures"] < least and row["difference"] < 0:
        return f"{row['pictures']} pairs are too few for a test, which takes {least}, and the mean of {score} is lower"
    return ""
