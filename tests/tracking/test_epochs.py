from __future__ import annotations

from mlflow import MlflowClient

from refusion.tracking.epochs import EPOCHS_FROM_TAG, epoch_metrics, run_counts_from_zero, without_baselines
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import recorded_epochs, start_job_run, start_task_run


def test_a_runs_epochs_are_a_table(uri: str, experiment: str) -> None:
    job = start_job_run(uri, experiment, "table", {}, {})
    run_id = start_task_run(uri, experiment, job, "IVIF", "IVIF", {})
    recorder = TaskRecorder(uri, run_id)
    recorder.epoch(1, {"loss/fusion": 2.0, "rate": 1e-3, "best/EN": 1.0, "system/cpu": 9.0})
    recorder.epoch(2, {"loss/fusion": 1.0, "rate": 1e-3, "EN": 7.0})
    recorder.finish("FINISHED")
    client = MlflowClient(tracking_uri=uri)
    newest = max(point.timestamp for point in client.get_metric_history(run_id, "rate"))
    client.log_metric(run_id, "rate", 5e-4, timestamp=newest + 1, step=2)
    table = epoch_metrics(uri, run_id)
    assert list(table.columns) == ["epoch", "EN", "loss/fusion", "rate"]
    assert table["epoch"].tolist() == [1, 2]
    assert table["loss/fusion"].tolist() == [2.0, 1.0]
    assert table["rate"].tolist() == [1e-3, 5e-4]
    assert table["EN"].isna().tolist() == [True, False]


def test_a_run_that_an_earlier_version_began_goes_on_to_count_from_0(uri: str, experiment: str) -> None:
    client = MlflowClient(tracking_uri=uri)
    job = start_job_run(uri, experiment, "older", {}, {})
    run_id = start_task_run(uri, experiment, job, "IVIF", "IVIF", {})
    assert not run_counts_from_zero(uri, run_id)
    client.delete_tag(run_id, EPOCHS_FROM_TAG)
    client.log_metric(run_id, "rate", 1e-3, step=0)
    # A resume reopens it.
    assert start_task_run(uri, experiment, job, "IVIF", "IVIF", {}) == run_id
    assert run_counts_from_zero(uri, run_id)
    TaskRecorder(uri, run_id).epoch(2, {"rate": 5e-4})
    assert [point.step for point in client.get_metric_history(run_id, "rate")] == [0, 1]
    assert recorded_epochs(uri, run_id, "rate") == {1, 2}
    assert epoch_metrics(uri, run_id)["rate"].tolist() == [1e-3, 5e-4]


def test_of_the_averages_scores_two_are_curves() -> None:
    numbers = {"EN": 7.0, "baseline/EN": 6.9, "baseline/Qabf": 0.4, "baseline/SSIM": 0.5}
    assert without_baselines(numbers) == {"EN": 7.0, "baseline/Qabf": 0.4, "baseline/SSIM": 0.5}
