"""Puts the table of all settings, as the code has them, in the place of the line `<!-- settings -->` of a page."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from refusion.config.layers import leaves
from refusion.config.settings import Settings

PLACE = "<!-- settings -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Returns the page's text with the table in its place; mkdocs calls this for every page."""
    return markdown.replace(PLACE, settings_table()) if PLACE in markdown else markdown


def settings_table() -> str:
    """Returns one Markdown table per section, the plain options first: option, default and meaning of each setting."""
    sections: dict[str, list[str]] = {}
    for name, field in leaves(Settings):
        section = name.rpartition(".")[0]
        option = name if section else name.replace("_", "-")
        cells = (f"`--{option}`", f"`{_text(field.default)}`", str(field.description).replace("|", "\\|"))
        sections.setdefault(section, []).append(f"| {' | '.join(cells)} |")
    head = "| option | default | meaning |\n| --- | --- | --- |"
    return "\n\n".join(
        f"## {section or 'Plain options'}\n\n{head}\n" + "\n".join(rows) for section, rows in sections.items()
    )


def _text(default: Any) -> str:
    """Returns a default as it is written in YAML; a dash where there is none."""
    if isinstance(default, BaseModel):
        default = default.model_dump()
    match default:
        case None:
            return "–"
        case bool():
            return "true" if default else "false"
        case float():
            return f"{default:g}"
        case dict():
            return "{" + ", ".join(f"{key}: {_text(value)}" for key, value in default.items()) + "}"
        case tuple() | list():
            return " ".join(map(str, default))
    return str(default)
