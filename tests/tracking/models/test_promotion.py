"""Promotion: the alias moves where the paired test does not say worse; the numbers are scipy's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from scipy import stats

from refusion.cli.looking.promote import promote_version
from refusion.errors import UserError
from refusion.metrics import METRICS
from refusion.tracking.comparison.files import scores_file
from refusion.tracking.comparison.scores import scores_text, with_facts
from refusion.tracking.models.promotion import examine, promote
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run, start_task_run

MakeVersion = Callable[..., Version]
HIGHER = dict.fromkeys(("SCD", "VIF", "Qabf", "SSIM"), True)


def write(
    uri: str, experiment: str, checkpoint: Path, version: MakeVersion, name: str, task: str, gains: np.ndarray,
    digest: str = "pairs", table: bool = True,
) -> str:  # fmt: skip
    """Registers a job's version, scored 0.5 plus a gain in each picture; returns its number."""
    job = start_job_run(uri, experiment, name, {}, {})
    recorder = TaskRecorder(uri, start_task_run(uri, experiment, job, task, f"{task} · {name}", {}))
    scores = {f"scene_{place}": dict.fromkeys(METRICS, 0.5 + gain) for place, gain in enumerate(gains)}
    if table:
        text = with_facts(scores_text({"trained": scores}, "authors"), 3, digest)
        recorder.text(text, scores_file(task, "best"))
    # Version 1 has the alias by the rule of trainings: it was measured on more pairs.
    pairs = 99 if name == "first" else len(gains)
    found = recorder.model(
        checkpoint, version(task, recorder.run_id, 3, 0.5 + gains.mean(), dataset_digest=digest, pairs=pairs)
    )
    assert recorder.unsent == 0
    return str(found)


@pytest.fixture
def register(uri: str, experiment: str, checkpoint: Path, version: MakeVersion) -> Callable[..., str]:
    return lambda *arguments, **more: write(uri, experiment, checkpoint, version, *arguments, **more)


def best(uri: str, task: str) -> str:
    return str(MlflowClient(uri).get_model_version_by_alias(f"refusion-{task}", "best").version)


def hold(uri: str, task: str, number: str) -> None:
    MlflowClient(uri).set_registered_model_alias(f"refusion-{task}", "best", number)


def noise(mean: float, pairs: int = 12) -> np.ndarray:
    return np.random.default_rng(3).normal(mean, 0.002, pairs)


def test_a_version_that_is_worse_for_sure_stays_behind_unless_forced(
    uri: str, register: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    register("first", "IVIF", np.zeros(12))
    assert register("second", "IVIF", noise(-0.05)) == "2"
    hold(uri, "IVIF", "1")
    found = examine(uri, "IVIF", HIGHER)
    assert (found.number, found.holder) == ("2", "1")
    p = stats.wilcoxon(noise(-0.05), zero_method="zsplit").pvalue
    assert found.tests is not None
    assert found.tests["p"].tolist() == pytest.approx([p] * 4)
    assert found.tests["p_holm"].tolist() == pytest.approx([4 * p] * 4)
    assert found.tests["difference"].tolist() == pytest.approx([noise(-0.05).mean()] * 4)
    with pytest.raises(UserError, match=r"best stays version 1: the paired test says worse in SCD, VIF, Qabf, SSIM"):
        promote_version(["--task", "IVIF", "--tracking-uri", uri], "")
    assert best(uri, "IVIF") == "1"
    said = capsys.readouterr().out
    assert f"Qabf  {noise(-0.05).mean():+.4f}  p {4 * p:.4f}  (12 pairs)" in said
    assert promote_version(["--task", "IVIF", "--run", "second", "--force", "--tracking-uri", uri], "") == 0
    assert best(uri, "IVIF") == "2"
    assert "is version 2 now although the paired test says worse" in capsys.readouterr().out


def test_one_that_is_not_worse_is_promoted(
    uri: str, register: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    register("first", "MIF", np.zeros(12))
    register("second", "MIF", noise(0.0))
    hold(uri, "MIF", "1")
    assert promote_version(["--task", "MIF", "--version", "2", "--tracking-uri", uri], "") == 0
    assert best(uri, "MIF") == "2"
    assert promote_version(["--task", "MIF", "--tracking-uri", uri], "") == 0
    assert "is version 2 already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gains", "more", "why"),
    [
        (noise(-0.05, 7), {}, "7 pairs are too few for a test, which takes 8, and the mean of Qabf is lower"),
        (noise(0.05), {"digest": "others"}, r"scored on different pairs \(digests others and pairs\)"),
        (noise(0.05), {"table": False}, "version 2 has no scores per picture"),
    ],
    ids=["few", "other pairs", "no table"],
)
def test_what_cannot_be_compared_is_not_promoted(
    uri: str, register: Callable[..., str], gains: np.ndarray, more: dict[str, object], why: str,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    task = {"few": "MFIF", "other pairs": "MEIF", "no table": "NONE"}[request.node.callspec.id]
    register("first", task, np.zeros(len(gains)))
    register("second", task, gains, **more)
    hold(uri, task, "1")
    found = examine(uri, task, HIGHER)
    with pytest.raises(AssertionError, match=why):
        assert not found.why_not, found.why_not
    promote(uri, found)
    assert best(uri, task) == "2"


def test_unknown_versions_are_refused(uri: str, register: Callable[..., str]) -> None:
    register("first", "IVIF", np.zeros(3))
    with pytest.raises(UserError, match=r"--run morning: no version of refusion-IVIF is of a run of that name"):
        examine(uri, "IVIF", HIGHER, run="morning")
    with pytest.raises(UserError, match=r"--task IVIF: the version cannot be found"):
        examine(uri, "IVIF", HIGHER, version="77")
    with pytest.raises(UserError, match=r"--task GHOST: the version cannot be found"):
        examine(uri, "GHOST", HIGHER)
