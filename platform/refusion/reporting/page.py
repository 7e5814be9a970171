"""A report as one self-contained HTML file: sections of text, tables, and plots as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from refusion.page_style import PAGE_BEGINNING
from refusion.reporting.figures import NothingToShowError, to_png


@dataclass(frozen=True)
class Picture:
    """A PNG file and its caption, a sentence or two."""

    data: bytes
    caption: str

    @property
    def uri(self) -> str:
        """Data URI for ``<img src>``."""
        return "data:image/png;base64," + base64.b64encode(self.data).decode("ascii")


@dataclass(frozen=True)
class Rows:
    """A table of texts; further lines of a cell are small.

    Attributes:
        marked: from row numbers (from 0) to the CSS class that highlights them.
        strong: (row, column) of bold cells.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: dict[int, str] = field(default_factory=dict)
    strong: Collection[tuple[int, int]] = ()


@dataclass(frozen=True)
class Section:
    """A heading and its content.

    Attributes:
        collapsible: title and text of a block that a click opens.
        block: HTML of its own, as ``Markup``, before the table.
        beside: the picture stands beside the table, where the window is wide enough.
    """

    title: str
    paragraphs: Sequence[str] = ()
    table: Rows | None = None
    picture: Picture | None = None
    collapsible: tuple[str, str] | None = None
    block: str | Markup = ""
    beside: bool = False


def figure_section(title: str, caption: str, draw: Callable[[], Figure]) -> Section:
    """Returns a section with a plot, or with the sentence that gives the reason for its absence."""
    try:
        return Section(title, picture=Picture(to_png(draw()), caption))
    except NothingToShowError as reason:
        return Section(title, paragraphs=[f"Left out: {reason}."])


def render(
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    foot: str,
    *,
    style: str | Markup = "",
    script: str | Markup = "",
) -> str:
    """Returns the page as HTML; every text is escaped.

    Args:
        title, lead, sections, foot: the content.
        style, script: what blocks need besides, CSS and JavaScript as ``Markup``.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_PAGE).render(
        title=title, lead=lead, sections=sections, foot=foot, style=style, script=script
    )


_PAGE = (
    PAGE_BEGINNING
    + """\
  body { max-width: 68rem; }
  p { margin: .4rem 0; max-width: 52rem; }
  .lead p:last-child { padding: .6rem .9rem; border-left: 4px solid #c2410c; background: #fff7ed; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
  th, td { padding: .28rem .7rem; text-align: left; border-bottom: 1px solid #e5e7eb; white-space: nowrap; }
  td.long { white-space: normal; min-width: 14rem; max-width: 26rem; }
  th { font-weight: 600; border-bottom: 2px solid #9ca3af; }
  tr.best td { background: #fff7ed; font-weight: 600; }
  tr.default td { background: #eff6ff; }
  figure { margin: .4rem 0 0; }
  .beside { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; margin-top: .6rem; }
  .beside figure { flex: 1 1 30rem; margin: 0; }
  figure img { max-width: 100%; height: auto; }
  figcaption, footer { color: #4b5563; font-size: .88rem; max-width: 52rem; }
  pre { background: #f8fafc; border: 1px solid #e5e7eb; padding: .7rem .9rem; overflow-x: auto; font-size: .82rem; }
  summary { cursor: pointer; margin: .6rem 0; }
  footer { margin-top: 2.5rem; padding-top: .9rem; border-top: 1px solid #e5e7eb; overflow-wrap: anywhere; }
{{ style }}</style>
</head>
<body>
<h1>{{ title }}</h1>
<div class="lead">
{% for text in lead %}
<p>{{ text }}</p>
{% endfor %}
</div>
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{% for text in section.paragraphs %}
<p>{{ text }}</p>
{% endfor %}
{{ section.block }}
{% if section.beside %}<div class="beside">{% endif %}
{% if section.table %}
<div class="wide"><table>
<thead><tr>{% for name in section.table.head %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in section.table.rows %}
{% set number = loop.index0 %}
<tr class="{{ section.table.marked.get(loop.index0, '') }}">
{%- for cell in row %}
<td{% if cell | length > 40 and "\n" not in cell %} class="long"{% endif %}>
{%- set first = cell.split("\n")[0] %}
{%- if (number, loop.index0) in section.table.strong %}<b>{{ first }}</b>{% else %}{{ first }}{% endif %}
{%- for line in cell.split("\n")[1:] %}<br><small>{{ line }}</small>{% endfor %}</td>
{%- endfor -%}
</tr>
{% endfor %}
</tbody>
</table></div>
{% endif %}
{% if section.picture %}
<figure>
<img src="{{ section.picture.uri }}" alt="{{ section.title }}">
<figcaption>{{ section.picture.caption }}</figcaption>
</figure>
{% endif %}
{% if section.beside %}</div>{% endif %}
{% if section.collapsible %}
<details><summary>{{ section.collapsible[0] }}</summary><pre>{{ section.collapsible[1] }}</pre></details>
{% endif %}
</section>
{% endfor %}
<footer>{{ foot }}</footer>
{% if script %}
<script>{{ script }}</script>
{% endif %}
</body>
</html>
"""
)
