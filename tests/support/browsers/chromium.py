"""Headless Chromium for tests of pages, by selenium; what it fetches over the network is on record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 90.0


def need_browser() -> None:
    """Skips the test where selenium, Chromium or its driver is missing; none of them is ever downloaded."""
    pytest.importorskip("selenium", reason="needs selenium")
    if _browser() is None or shutil.which("chromedriver") is None:
        pytest.skip("needs Chromium and chromedriver")


def _browser() -> str | None:
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextmanager
def chromium(downloads: Path | None = None, width: int = 1500, height: int = 1300) -> Iterator[Any]:
    """A browser whose window has that size, and which puts what is downloaded into that folder."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(_browser())
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    # Of the browser's own: it would look for updates and field trials.
    options.add_argument("--disable-background-networking")
    options.add_argument(f"--window-size={width},{height}")
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def wait(driver: Any, condition: Callable[[Any], Any], about: str) -> Any:
    """Returns what the condition gives as soon as that is true; a page whose elements are replaced is asked again."""
    from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
    from selenium.webdriver.support.ui import WebDriverWait

    passing = (NoSuchElementException, StaleElementReferenceException)
    try:
        return WebDriverWait(driver, _PATIENCE, ignored_exceptions=passing).until(condition)
    except TimeoutException:
        text = driver.find_element("tag name", "body").text
        raise AssertionError(f"{about}: not seen within {_PATIENCE:.0f} s; the page says:\n{text}") from None


def hosts_asked(driver: Any) -> set[str]:
    """Hosts to which the browser has sent requests since this was last asked."""
    messages = (json.loads(entry["message"])["message"] for entry in driver.get_log("performance"))
    urls = (
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    )
    return {str(urlsplit(url).hostname) for url in urls if url.startswith(("http:", "https:", "ws:", "wss:"))}


def screenshot(driver: Any, file: Path) -> None:
    """Writes the whole page, however long, as a PNG; for whoever looks at a test that fails."""
    height = driver.execute_script("return document.documentElement.scrollHeight")
    driver.set_window_size(driver.get_window_size()["width"], max(600, height + 150))
    driver.save_screenshot(str(file))
