"""A contact sheet of a data set as one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import jinja2

from refusion.inspection.report import Duplicates, PairReport, SplitReport, lines_of, shift_in_words
from refusion.page_style import PAGE_BEGINNING

_MOST_PROBLEMS = 200


def contact_sheet(title: str, splits: Sequence[SplitReport], duplicates: Sequence[Duplicates]) -> str:
    """Returns the page: of each split what it is, its problems, and thumbnails of its pairs; every text is escaped.

    Args:
        title: of the page.
        splits: what was inspected.
        duplicates: pairs that look alike.
    """
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    sections = [
        {
            "title": f"{one.task}/{one.split}",
            "lines": lines_of(one),
            "problems": [f"{problem.file}: {problem.what}" for problem in one.checked.problems[:_MOST_PROBLEMS]],
            "more": max(0, len(one.checked.problems) - _MOST_PROBLEMS),
            "cards": [_card(report) for report in _warned_first(one.pairs) if report.thumbnails],
            "left_out": sum(not report.thumbnails for report in one.pairs),
        }
        for one in splits
    ]
    alike = [
        f"{'/'.join(one.first)} and {'/'.join(one.second)}{' (in two splits)' if one.cross else ''}"
        for one in duplicates[:_MOST_PROBLEMS]
    ]
    return environment.from_string(_PAGE).render(title=title, sections=sections, alike=alike, count=len(duplicates))


def _warned_first(pairs: Sequence[PairReport]) -> list[PairReport]:
    return sorted(pairs, key=lambda report: not report.warnings)


def _card(report: PairReport) -> dict[str, object]:
    a, b = report.exposures
    return {
        "name": report.pair.name,
        "uris": ["data:image/jpeg;base64," + base64.b64encode(data).decode("ascii") for data in report.thumbnails],
        "facts": (
            f"{report.pair.width}×{report.pair.height}; {shift_in_words(report.shift)}; grey "
            f"{255 * a.mean:.0f} and {255 * b.mean:.0f}; sharper {report.focus[0]:.0%} and {report.focus[1]:.0%}"
        ),
        "warnings": report.warnings,
    }


_PAGE = (
    PAGE_BEGINNING
    + """\
  body { max-width: 84rem; font-size: 15px; }
  p { margin: .2rem 0; overflow-wrap: anywhere; }
  .bad p, .card .warning { color: #9a3412; }
  .bad { margin: .5rem 0; padding: .5rem .9rem; border-left: 4px solid #c2410c; background: #fff7ed; }
  .sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: .7rem; margin-top: .8rem; }
  .card { border: 1px solid #e5e7eb; border-radius: 4px; padding: .5rem; font-size: .8rem; }
  .card.warned { border-color: #c2410c; background: #fff7ed; }
  .pictures { display: flex; gap: .3rem; align-items: flex-start; }
  .pictures img { max-width: 150px; height: auto; background: #f3f4f6; }
  .name { font-weight: 600; overflow-wrap: anywhere; }
  .facts { color: #4b5563; font-variant-numeric: tabular-nums; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>In each card: source a, source b. Shift: pixels by which b lies down and right of a. Grey: mean, 0 to 255. Sharper:
share of the picture where a, and where b, is clearly the sharper one.</p>
{% for section in sections %}
<section>
<h2>{{ section.title }}</h2>
{% for line in section.lines %}
<p>{{ line }}</p>
{% endfor %}
{% if section.problems %}
<div class="bad">
{% for problem in section.problems %}
<p>{{ problem }}</p>
{% endfor %}
{% if section.more %}<p>… and {{ section.more }} more problems</p>{% endif %}
</div>
{% endif %}
<div class="sheet">
{% for card in section.cards %}
<div class="card{{ ' warned' if card.warnings else '' }}">
<div class="pictures">
{% for uri in card.uris %}
<img src="{{ uri }}" alt="{{ card.name }}">
{% endfor %}
</div>
<div class="name">{{ card.name }}</div>
<div class="facts">{{ card.facts }}</div>
{% for warning in card.warnings %}
<div class="warning">{{ warning }}</div>
{% endfor %}
</div>
{% endfor %}
</div>
{% if section.left_out %}<p>{{ section.left_out }} more pairs are not shown.</p>{% endif %}
</section>
{% endfor %}
{% if alike %}
<section>
<h2>Pairs that look alike: {{ count }}</h2>
{% for line in alike %}
<p>{{ line }}</p>
{% endfor %}
</section>
{% endif %}
</body>
</html>
"""
)
