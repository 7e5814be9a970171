"""The page as it stands: its numbers are those that were written, its pictures those of the store."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pandas as pd
import pytest

from refusion.metrics import METRICS
from refusion.reporting.comparison.charts import cost_chart, differences_chart, learning_curves
from refusion.reporting.comparison.files import comparison_files
from refusion.reporting.comparison.groups import Compared, group_runs
from refusion.reporting.comparison.measures import scores_of, standings_of
from refusion.tracking.comparison.runs import read_runs

ROWS = ["night", "morning", "laplacian", "average"]


class Tables(HTMLParser):
    """Tables of a page as rows of texts, by the heading above each."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.heading, self.inside, self.tables = "", "", {}  # type: ignore[var-annotated]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "h2":
            self.heading = ""
        if tag == "table":
            self.tables[self.heading] = []
        if tag == "tr":
            self.tables[self.heading].append([])
        if tag in ("td", "th"):
            self.tables[self.heading][-1].append("")
        if tag in ("h2", "td", "th"):
            self.inside = tag
        if tag == "br" and self.inside == "td":
            self.tables[self.heading][-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "h2":
            self.heading += data
        elif self.inside:
            self.tables[self.heading][-1][-1] += data.strip()


@pytest.fixture(scope="module")
def compared(written) -> Compared:  # type: ignore[no-untyped-def]
    return group_runs(read_runs(written.uri, "study", METRICS))


@pytest.fixture(scope="module")
def files(compared: Compared) -> dict[str, str]:
    return comparison_files("Runs of <study>", compared, "made of study")


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?\d+\.\d+|[-+]?\d+", text.replace(",", ", "))]


def test_every_number_of_the_tables_is_what_was_written(files: dict[str, str], compared: Compared, written) -> None:  # type: ignore[no-untyped-def]
    tables = Tables(files["report.html"]).tables
    means = pd.DataFrame({name: written.frames[name].mean() for name in ROWS}).T
    ranks = means.rank(ascending=False)
    expected = scores_of(compared.groups[0]).set_index(["run", "metric"])
    _, *rows = tables["IVIF, 10 pairs (digest digest-o): scores"]
    for row in rows:
        for metric, cell in zip(METRICS, row[1:9], strict=True):
            mean, rank, low, high = numbers(cell)
            assert mean == pytest.approx(means.loc[row[0], metric], abs=6e-5) and rank == ranks.loc[row[0], metric]
            assert [low, high] == pytest.approx(expected.loc[(row[0], metric), ["low", "high"]].tolist(), abs=6e-5)
        assert float(row[9]) == pytest.approx(ranks.loc[row[0]].mean(), abs=5e-3)
        assert float(row[10]) == pytest.approx(ranks.loc[row[0], ["SCD", "VIF", "Qabf", "SSIM"]].mean(), abs=5e-3)
    _, *rows = tables["IVIF, 10 pairs (digest digest-o): difference from average"]
    assert [row[0] for row in rows] == ROWS[:3]
    for row in rows:
        for metric, cell in zip(METRICS, row[1:], strict=True):
            difference = (written.frames[row[0]][metric] - written.frames["average"][metric]).mean()
            assert numbers(cell)[0] == pytest.approx(difference, abs=6e-5)
            p = expected.loc[(row[0], metric), "p_holm"]
            assert ("below 0.001" in cell) == (p < 0.001)
            assert numbers(cell)[1] == pytest.approx(max(p, 0.001), abs=6e-4)
    _, *rows = tables["Which run is better"]
    shown = {(row[0], row[1], row[2]): row for row in rows}
    night = shown["IVIF", "10", "night"]
    assert [float(text) for text in night[5:9]] == pytest.approx(
        means.loc["night", ["SCD", "VIF", "Qabf", "SSIM"]].tolist(), abs=6e-5
    )
    assert night[10:] == ["80", "4"] or night[10:] == ["80", "5"]
    assert shown["IVIF", "4", "elsewhere"][10] == "80"


def test_csv_files_hold_all_digits(files: dict[str, str], written) -> None:  # type: ignore[no-untyped-def]
    from io import StringIO

    table = pd.read_csv(StringIO(files["scores.csv"])).set_index(["pairs", "run", "metric"])
    assert table.loc[(10, "morning", "SSIM"), "mean"] == pytest.approx(
        written.frames["morning"]["SSIM"].mean(), rel=1e-14
    )
    standings = pd.read_csv(StringIO(files["standings.csv"])).set_index(["pairs", "run"])
    assert standings.loc[(10, "night"), "pairs_seen"] == 80
    for name in ("comparison.md", "comparison.tex"):
        assert files[name].count("night") >= 3


def test_the_gallery_has_the_pictures_of_the_store_and_the_window_where_they_differ(files: dict[str, str]) -> None:
    page = files["report.html"]
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    content = json.loads(data)
    (pair,) = content["pairs"]
    assert pair["pair"] == "scene_1"
    assert list(pair["pictures"]) == ["a: infrared", "b: visible", "average", "night", "morning"]
    assert list(pair["weights"]) == ["night", "morning"]
    x, y, width, height = pair["window"]
    assert x * 64 <= 30 and (x + width) * 64 >= 37 and y * 48 <= 20 and (y + height) * 48 >= 27
    inset = cv2.imdecode(
        np.frombuffer(base64.b64decode(pair["insets"]["night"].partition(",")[2]), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    draw = np.random.default_rng(0)
    a, b = (draw.integers(60, 120, (48, 64), dtype=np.uint8) for _ in "ab")
    fused = (a.astype(int) + b) // 2
    fused[20:28:2, 30:38:2] += 90
    top, left = round(y * 48), round(x * 64)
    assert np.array_equal(inset, fused[top : top + len(inset), left : left + len(inset)])


def test_the_page_is_whole_and_escapes_names(files: dict[str, str]) -> None:
    page = files["report.html"]
    assert "<h1>Runs of &lt;study&gt;</h1>" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "scored on different pairs" in page and "ancient: is left out" in page


def test_charts_draw_the_numbers(compared: Compared) -> None:
    group = compared.groups[0]
    scores = scores_of(group)
    axes = differences_chart(group, scores).axes[list(METRICS).index("Qabf")]
    points = {line.get_ydata()[0]: line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"}  # type: ignore[index]
    expected = scores[scores["metric"] == "Qabf"].set_index("run")["difference"]
    assert points == pytest.approx({row: expected[name] for row, name in enumerate(group.others)})
    curves = learning_curves(group).axes[0].lines
    night = group.runs["night"].history
    assert curves[0].get_ydata() == pytest.approx(night["SCD"].to_numpy())
    assert list(curves[0].get_xdata()) == [0, 1, 2]
    costs = cost_chart(group, standings_of(group)).axes[1]
    assert sorted(line.get_xdata()[0] for line in costs.lines if line.get_marker() == "o") == [4.5, 4.5]  # type: ignore[index]


@pytest.mark.parametrize("baseline", ["night", "morning", "average"])
def test_the_best_run_is_marked_whichever_is_the_baseline(written, baseline: str) -> None:  # type: ignore[no-untyped-def]
    compared = group_runs(read_runs(written.uri, "study", METRICS), baseline=baseline)
    page = comparison_files("Runs", compared, "made of study")["report.html"]
    marked = re.findall(r'<tr class="best">\s*<td>IVIF</td>\s*<td>10</td>\s*<td>(\w+)</td>', page.replace("<b>", ""))
    ranks = standings_of(compared.groups[0])["rank_quality"][["night", "morning"]]
    assert marked == ranks.index[ranks == ranks.min()].tolist()
