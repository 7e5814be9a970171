from __future__ import annotations

import pytest

from refusion.cli.help.terms import terms_text
from refusion.cli.options import Parser
from refusion.metrics import CATALOGUE, METRICS
from refusion.training.display.progress import LEGEND


@pytest.mark.parametrize("columns", [80, 120])
def test_the_words_of_the_display_are_explained_in_a_table(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = terms_text().splitlines()
    assert max(map(len, lines)) <= columns
    explained = {line[2:].split("  ")[0] for line in lines if line.startswith("  ") and line[2] != " "}
    assert {"L_f", "L_r", "α, β", "K", "F", "P", "R", "meta", "fusion", "waiting", "best", "last"} <= explained
    assert {name.split()[0] for name in explained} >= set(CATALOGUE)


def test_the_table_names_what_a_training_shows() -> None:
    noisy = [name for name in METRICS if CATALOGUE[name].noise_sensitive]
    said = f"a training shows {' '.join(METRICS)}; noise raises {' '.join(noisy)} too"
    assert said in " ".join(terms_text().split())
    assert "--help-terms" in LEGEND


def test_the_option_prints_and_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        Parser(settings=True).parse_known_args(["--help-terms"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"{terms_text()}\n"
    assert "--help-terms" in Parser(settings=True).format_help()
    assert "--help-terms" not in Parser().format_help()
