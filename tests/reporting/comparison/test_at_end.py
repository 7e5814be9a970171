"""The report beside a job, and the files of the command."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from refusion.cli.looking.compare import compare_runs
from refusion.errors import UserError
from refusion.reporting.comparison.at_end import write_report
from refusion.runtime.storage import Folder
from refusion.training.display.report import Ended, written


@pytest.fixture
def ended(written, tmp_path: Path) -> Ended:  # type: ignore[no-untyped-def]
    """The older of the two jobs, which is not the best."""
    return Ended(written.uri, "study", written.jobs["morning"], "morning", Folder(str(tmp_path / "runs" / "morning")))


def test_a_job_gets_its_page_beside_earlier_ones(ended: Ended, tmp_path: Path) -> None:
    file = Path(write_report(ended))
    assert file == tmp_path / "runs" / "morning" / "report.html"
    page = file.read_text(encoding="utf-8")
    assert "<h1>Run morning</h1>" in page
    # It is marked, and its picture is the right one of the two that are seen first.
    assert page.count('<tr class="default">') == 1 and "Blue: morning" in page
    assert '"left": "night", "right": "morning"' in page


def test_no_page_is_no_reason_to_fail(ended: Ended) -> None:
    console = Console(file=io.StringIO(), width=200)

    def broken(_: Ended) -> str:
        raise OSError("disk full")

    assert written(None, ended, console) is None
    assert written(broken, ended, console) is None
    assert console.file.getvalue() == "warning: no report could be written (OSError: disk full)\n"  # type: ignore[attr-defined]
    assert written(lambda found: found.name, ended, console) == "morning"


def test_the_command_writes_every_file_and_says_the_result(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, out = request.getfixturevalue("written").uri, tmp_path / "new" / "comparison"
    asked = ["--tracking-uri", uri, "--experiment", "study", "--out", str(out)]
    assert compare_runs([*asked, "--runs", "night", "--baseline", "morning"], "") == 0
    names = ["comparison.md", "comparison.tex", "report.html", "scores.csv", "standings.csv"]
    assert sorted(path.name for path in out.iterdir()) == names
    said = capsys.readouterr().out
    assert "IVIF, 10 pairs (digest digest-o): night is the best" in said and "Against morning: Qabf +0.0" in said
    assert f"report: {out / 'report.html'}" in said
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*file.*cannot be written"):
        compare_runs([*asked[:-1], str(tmp_path / "file" / "sub")], "")
