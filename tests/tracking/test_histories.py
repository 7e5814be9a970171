from __future__ import annotations

from mlflow import MlflowClient

from refusion.tracking.histories import epoch_metrics
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run


def test_a_runs_epochs_are_a_table(uri: str, experiment: str) -> None:
    run_id = start_job_run(uri, experiment, "table", {}, {})
    recorder = TaskRecorder(uri, run_id)
    recorder.epoch(0, {"loss/fusion": 2.0, "rate": 1e-3, "system/cpu": 9.0})
    recorder.epoch(1, {"loss/fusion": 1.0, "rate": 1e-3, "EN": 7.0})
    recorder.finish("FINISHED")
    client = MlflowClient(tracking_uri=uri)
    newest = max(point.timestamp for point in client.get_metric_history(run_id, "rate"))
    client.log_metric(run_id, "rate", 5e-4, timestamp=newest + 1, step=1)
    table = epoch_metrics(uri, run_id)
    assert list(table.columns) == ["epoch", "EN", "loss/fusion", "rate"]
    assert table["epoch"].tolist() == [0, 1]
    assert table["loss/fusion"].tolist() == [2.0, 1.0]
    assert table["rate"].tolist() == [1e-3, 5e-4]
    assert table["EN"].isna().tolist() == [True, False]
