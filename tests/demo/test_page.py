"""The demo in a real browser: two pictures are dropped, fused, scored and downloaded; bad ones are a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browsers.chromium import chromium, hosts_asked, need_browser, wait

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo as its user starts it, at a free port."""
    pytest.importorskip("gradio", reason="needs the extra demo")
    need_browser()
    environment = {**os.environ, "REFUSION_HOME": str(tmp_path_factory.mktemp("home"))}
    command = [sys.executable, "jobs/demo.py", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout is not None
            line = served.stdout.readline()
            assert "the demo is served at http://127.0.0.1:" in line
            yield line.split("served at ")[1].split()[0]
        finally:
            served.terminate()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Any]:
    need_browser()
    with chromium(downloads) as driver:
        yield driver


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def drop(browser: Any, side: str, file: Path) -> None:
    """Gives a file to a place that is empty, and waits until it is there."""
    find(browser, f"#file-{side} input[type=file]").send_keys(str(file))
    wait(browser, lambda it: file.suffix in find(it, f"#file-{side}").text, f"{file.name} in {side}")


def test_two_pictures_are_fused_scored_compared_and_downloaded(
    address: str, browser: Any, downloads: Path, pair: tuple[Path, Path]
) -> None:
    browser.get(address)
    wait(browser, lambda it: find(it, "#fuse").is_displayed(), "the button")
    for side, file in zip("ab", pair, strict=True):
        drop(browser, side, file)
    find(browser, "#fuse").click()
    wait(browser, lambda it: find(it, "table.scores") and not it.find_elements("id", "coming"), "all scores")
    heads = [head.text for head in browser.find_elements("css selector", "table.scores thead th")]
    assert heads[:3] == ["metric", "fused", "average"]
    for metric in ("EN", "SSIM", "Qabf", "Q_CV"):
        cells = browser.find_elements("css selector", f"table.scores tr[data-metric='{metric}'] td")
        assert len(cells) == len(heads) - 1 and np.isfinite([float(cell.text) for cell in cells]).all()
    shown = browser.find_elements("css selector", "#slider img")
    assert {int(image.get_property("naturalWidth")) for image in shown} == {48}
    assert int(find(browser, "#maps img").get_property("naturalWidth")) > 300
    find(browser, "#download").click()
    file = downloads / "ir-fused.png"
    wait(browser, lambda _: file.is_file(), "the download")
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    assert picture is not None and picture.dtype == np.uint16 and picture.shape == (40, 48, 3)
    assert hosts_asked(browser) == {"127.0.0.1"}


def test_what_is_wrong_is_a_sentence_in_the_page(
    address: str, browser: Any, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    browser.get(address)
    wait(browser, lambda it: find(it, "#fuse").is_displayed(), "the button")
    find(browser, "#fuse").click()
    wait(browser, lambda it: "drop two pictures first" in find(it, "#message").text, "the first sentence")
    text = tmp_path / "text.png"
    text.write_text("no picture")
    drop(browser, "a", text)
    said = "text.png: is not a readable image"
    wait(browser, lambda it: said in find(it, "#message .fault").text, "the sentence on a file")
    drop(browser, "b", pair[1])
    find(browser, "#fuse").click()
    wait(browser, lambda it: said in find(it, "#message .fault").text, "the sentence on the pair")
    assert "Traceback" not in find(browser, "body").text
    assert not find(browser, "#slider").is_displayed() if browser.find_elements("id", "slider") else True


def test_an_example_changes_the_task_and_can_be_fused(address: str, browser: Any) -> None:
    browser.get(address)
    wait(browser, lambda it: it.find_elements("xpath", "//button[contains(., 'MFIF · page')]"), "the examples")
    browser.find_element("xpath", "//button[contains(., 'MFIF · page')]").click()
    wait(browser, lambda it: "focus on far" in find(it, "#file-b").text and ".png" in find(it, "#file-b").text, "b")
    find(browser, "#fuse").click()
    wait(browser, lambda it: it.find_elements("css selector", "table.scores"), "scores")
    assert "MFIF, fused by the module that comes along" in find(browser, "#message").text
