from __future__ import annotations

import base64
import re

from matplotlib.figure import Figure

from refusion.reporting.figures import NothingToShowError, axis_label, panels, to_png
from refusion.reporting.page import Rows, Section, figure_section, render


def test_everything_is_in_the_file_and_escaped() -> None:
    sections = [
        Section("A <b>", ["x & y"], Rows(["h"], [["<script>"], ["z"]], {1: "best"})),
        figure_section("P", "what it shows", lambda: panels(3)[0]),
        Section("F", collapsible=("best.yaml", "a: <1>")),
    ]
    page = render("T", ["lead"], sections, "foot")
    assert "<script>" not in page
    for text in ("A &lt;b&gt;", "x &amp; y", "&lt;script&gt;", "a: &lt;1&gt;", '<tr class="best">', "what it shows"):
        assert text in page
    uris = re.findall(r'src="([^"]+)"', page)
    assert len(uris) == 1
    kind, _, data = uris[0].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert "http" not in page


def test_a_picture_that_cannot_be_made_is_a_sentence() -> None:
    def fail() -> Figure:
        raise NothingToShowError("there are too few trials")

    section = figure_section("P", "c", fail)
    assert (section.picture, section.paragraphs) == (None, ["Left out: there are too few trials."])


def test_equal_figures_are_equal_files() -> None:
    assert to_png(panels(2)[0]) == to_png(panels(2)[0])
    assert (axis_label("a$b"), axis_label("x" * 30, 10)) == (r"a\$b", "x" * 9 + "…")
