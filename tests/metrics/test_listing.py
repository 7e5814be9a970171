from __future__ import annotations

from refusion.metrics import CATALOGUE, CONVENTIONS
from refusion.metrics.listing import describe, help_text, markdown_table, metric_tags
from refusion.metrics.lookup import find_definitions


def test_a_metric_in_one_line() -> None:
    assert describe("SSIM") == "SSIM ↑ structural similarity, −1 to 1"
    assert describe("MSE", "tang") == "MSE ↓ mean squared error, 0 to 1; on 0–1"
    assert describe("VIF").endswith("0 to ∞")


def test_tags_say_what_each_metric_is() -> None:
    assert metric_tags(["SSIM"]) == {"metric.SSIM": describe("SSIM")}
    assert (
        max(len(text) for name in CONVENTIONS for text in metric_tags(find_definitions("all", name), name).values())
        < 500
    )


def test_help_and_table_name_every_metric_and_convention() -> None:
    text, table = help_text(), markdown_table().splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[2:]] == list(CATALOGUE)
    assert all(f"\n  {name} " in text for name in CATALOGUE)
    assert all(f"\n  {name}: " in text for name in CONVENTIONS)
    assert {line.count(" | ") for line in table[2:]} == {6}
