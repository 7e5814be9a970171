from __future__ import annotations

from refusion.tracking.comparison.files import means_file, scores_file, source_file


def test_each_task_of_a_run_has_its_own_file() -> None:
    assert scores_file("IVIF", "best") == "scores/IVIF/best.csv"
    assert scores_file("MIF", "last") == "scores/MIF/last.csv"
    assert means_file("MIF") == "scores/MIF/means.csv"


def test_a_source_has_a_name_that_mlflow_takes() -> None:
    assert source_file("night/01", "a") == "sources/night/01/a.png"
    assert source_file("x" * 200, "b").startswith("sources/xxx") and len(source_file("x" * 200, "b")) < 120
