"""The prepared views in a real browser: MLflow's format of them is private, so only its page tells if they work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import takewhile
from typing import Any
from urllib.parse import quote

import pytest
from browsers.chromium import chromium, hosts_asked, need_browser, wait
from mlflow import MlflowClient
from stored.mlflow_runs import SCORES, SHEET_SIZE, SIZE, server, small_store

from refusion.tracking.views.write import view_address

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of a served store, and the experiment's id."""
    need_browser()
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFUSION_HOME", str(folder / "home"))
        uri, experiment = small_store(folder)
        with server(uri, folder / "server.log") as address:
            yield address, experiment


@pytest.fixture(scope="module")
def browser(store: tuple[str, str]) -> Iterator[Any]:
    with chromium(width=1800) as driver:
        yield driver


def open_view(browser: Any, store: tuple[str, str], name: str, expected: str) -> None:
    """Opens a view's page, as the link that a job prints does, and waits until a text of it is seen."""
    # The page reads its address only when it is loaded.
    browser.get("about:blank")
    browser.get(view_address(*store, name))
    wait(browser, lambda it: expected in it.find_element("tag name", "body").text, f"{expected} in the view {name}")


def cells(browser: Any, column: str) -> list[str]:
    """Texts of a column of the table, from above."""
    found = browser.find_elements("css selector", f'.ag-cell[col-id="{column}"]')
    return [cell.text for cell in sorted(found, key=lambda cell: cell.location["y"])]


def test_tasks_shows_the_scores_of_each_task_the_newest_first(store: tuple[str, str], browser: Any) -> None:
    open_view(browser, store, "tasks", "MIF · night")
    wait(browser, lambda it: len(cells(it, "metrics.`Qabf`")) == 2, "two rows")
    for metric in ("EN", "SSIM", "Qabf"):
        assert [float(text) for text in cells(browser, f"metrics.`{metric}`")] == pytest.approx(
            [SCORES[metric] + 0.01, SCORES[metric]]
        )
    assert hosts_asked(browser) == {"127.0.0.1"}


def test_jobs_shows_a_row_per_job(store: tuple[str, str], browser: Any) -> None:
    open_view(browser, store, "jobs", "MIF/Qabf")
    wait(browser, lambda it: len(cells(it, "metrics.`MIF/Qabf`")) == 2, "two rows")
    assert [float(text) for text in cells(browser, "metrics.`MIF/Qabf`")] == pytest.approx(
        [SCORES["Qabf"] + 0.01, SCORES["Qabf"]]
    )


def test_sweep_shows_trials_and_how_they_ended(store: tuple[str, str], browser: Any) -> None:
    open_view(browser, store, "sweep", "trial 1 · rates")
    wait(browser, lambda it: cells(it, "tags.`ended`") == ["finished"], "the trial's end")


def inside(inner: Any, outer: Any) -> bool:
    a, b = inner.rect, outer.rect
    return bool(
        b["x"] <= a["x"]
        and b["y"] <= a["y"]
        and a["x"] + a["width"] <= b["x"] + b["width"]
        and a["y"] + a["height"] <= b["y"] + b["height"]
    )


def test_pictures_are_seen_whole_in_their_tile_and_follow_the_slider(store: tuple[str, str], browser: Any) -> None:
    open_view(browser, store, "pictures", "fused")
    fused = "img[src*='fused~head']"
    wait(browser, lambda it: len(it.find_elements("css selector", fused)) == 2, "both runs' pictures")
    one, other = browser.find_elements("css selector", fused)
    wait(browser, lambda _: one.rect["y"] == other.rect["y"] and one.rect["x"] != other.rect["x"], "them side by side")
    first = browser.find_element("css selector", fused)
    wait(browser, lambda _: first.get_property("naturalWidth"), "the picture")
    # The page shows MLflow's own preview, of 256 pixels; the whole picture opens behind it.
    width, height = (int(first.get_property(f"natural{side}")) for side in ("Width", "Height"))
    assert width >= 200 and width / height == pytest.approx(SIZE[0] / SIZE[1], rel=0.02)
    slider = browser.find_element("css selector", "[role=slider]")
    # The tile is the nearest part of the page that holds the picture and its slider.
    tile = browser.execute_script(
        "let it = arguments[0]; while (!it.contains(arguments[1])) it = it.parentElement; return it", first, slider
    )
    assert inside(first, tile) and inside(first, browser.find_element("tag name", "html"))
    assert first.rect["width"] >= 100 and "step%2B2" in first.get_property("src")
    slider.send_keys("\ue012")  # the left arrow key
    wait(
        browser,
        lambda it: all("step%2B1" in image.get_property("src") for image in it.find_elements("css selector", fused)),
        "the pictures of epoch 1",
    )


def test_pictures_says_first_which_job_is_better_on_which_task(store: tuple[str, str], browser: Any) -> None:
    open_view(browser, store, "pictures", "best Qabf, job by job")

    def bars(it: Any) -> list[str]:
        return sorted(text.text for text in it.find_elements("css selector", ".bartext"))

    wait(browser, lambda it: bars(it) == ["0.61", "0.62"], "a bar for each job")


def test_sheets_are_read_in_their_tile(store: tuple[str, str], browser: Any) -> None:
    open_view(browser, store, "pictures", "sheet")
    sheet = "img[src*='sheet~MIF']"
    browser.execute_script("document.body.style.zoom = 0.4")  # Tiles out of sight are not drawn.
    wait(browser, lambda it: it.find_elements("css selector", sheet), "a sheet")
    first = browser.find_element("css selector", sheet)
    wait(browser, lambda _: first.get_property("naturalWidth") == SHEET_SIZE[0], "the sheet at its own size")


def test_two_runs_are_compared_by_their_numbers(store: tuple[str, str], browser: Any) -> None:
    """MLflow's own page of two runs, which a person opens by selecting them, has both values of each metric."""
    address, experiment = store
    client = MlflowClient(tracking_uri=address)
    tasks = client.search_runs([experiment], "tags.kind = 'task'", order_by=["attributes.start_time ASC"])
    runs = quote(json.dumps([run.info.run_id for run in tasks]))
    browser.get("about:blank")
    browser.get(f"{address}/#/compare-runs?runs={runs}&experiments={quote(json.dumps([experiment]))}")

    def table(it: Any) -> dict[str, list[float]]:
        """Both runs' values by metric, as far as the table is drawn: the names stand before the values."""
        text = it.find_element("tag name", "body").text
        lines = text.partition("Metrics\nShow diff only\n")[2].partition("\nArtifacts")[0].splitlines()
        names = list(takewhile(lambda line: not line[:1].isdigit(), lines))
        numbers = [float(line) for line in lines[len(names) :]]
        return dict(zip(names, map(list, zip(numbers[::2], numbers[1::2], strict=True)), strict=False))

    found = wait(browser, lambda it: table(it) if {"EN", "SSIM", "Qabf"} <= table(it).keys() else None, "the metrics")
    for metric in ("EN", "SSIM", "Qabf"):
        assert found[metric] == pytest.approx([SCORES[metric], SCORES[metric] + 0.01], abs=6e-4)
