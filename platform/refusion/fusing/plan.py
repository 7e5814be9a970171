"""Plan of a fusing: which pictures are to be made, which are there already, which cannot be made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refusion.checksums import sha256
from refusion.errors import UserError
from refusion.fusing.manifest import BAD, FUSED, THERE, Row
from refusion.fusing.request import Request
from refusion.images.pairs import Checked, Pair, SourceFacts, dataset_digest
from refusion.images.ranges import Extent
from refusion.shipped import FUSION_FILE

_MOST_LISTED = 5
# Columns by which a picture that is there tells that it was made otherwise, in words.
_COMPARED = {
    "task": "another task",
    "weights_sha256": "another module",
    "settings": "other settings",
    "sources_sha256": "other sources",
    "range_a": "another range",
    "range_b": "another range",
}


@dataclass(frozen=True)
class Plan:
    """Pictures to be made and those that are not.

    Attributes:
        rows: of every good pair, as the list is to have it once it is fused, but for the seconds; in the pairs' order.
        to_make: positions of those whose picture is missing.
        there: number of those whose picture is there and stays.
        unknown: rows on pictures that are there and that the list does not know.
    """

    rows: list[Row]
    to_make: list[int]
    there: int
    unknown: list[Row]


def rows_of(pairs: Sequence[Pair], facts: Mapping[str, SourceFacts], request: Request, common: Row) -> list[Row]:
    """Returns the row of each pair.

    Args:
        pairs: checked ones.
        facts: of every source, by path.
        request: what is asked for.
        common: task, module and settings.
    """
    return [
        replace(
            common,
            output=request.results.target(Path(), pair.name).name,
            a=pair.a,
            b=os.pathsep.join(pair.files[1:]),
            width=str(pair.width),
            height=str(pair.height),
            kind_a=facts[pair.a].about,
            kind_b="; ".join(dict.fromkeys(facts[file].about for file in pair.files[1:])),
            range_a=_range(pair.range_a),
            range_b="; ".join(dict.fromkeys(map(_range, pair.ranges[1:]))),
            sources_sha256=pair.digest,
            state=FUSED,
        )
        for pair in pairs
    ]


def common_row(request: Request, module: str, weights: Path, pairs: Sequence[Pair]) -> Row:
    """Returns what all rows have in common: task, module, digest of its weights, settings.

    Args:
        request: what is asked for.
        module: in words.
        weights: the checkpoint's folder, or its file.
        pairs: those that a module is adapted to.
    """
    results = request.results
    settings: dict[str, object] = {"depth": results.depth, "grey": results.grey, "stretch": results.stretched}
    if request.precision != "float32":
        settings["precision"] = request.precision
    if request.adapt is not None:
        settings |= {"adapt": request.adapt, "adapt_rate": request.adapt_rate}
        settings["adapted_to"] = "each" if request.adapt_each else dataset_digest(pairs)
    file = weights / FUSION_FILE if weights.is_dir() else weights
    return Row("", task=request.task, module=module, weights_sha256=sha256(file), settings=json.dumps(settings))


def bad_rows(checked: Checked, request: Request) -> list[Row]:
    """Returns a row for each pair that the check found bad, with all of its problems."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for problem in checked.problems:
        reasons.setdefault(problem.pair, []).append(f"{problem.file}: {problem.what}")
    rows = []
    for (name, a, b), found in reasons.items():
        of_a, of_b = checked.facts.get(a), checked.facts.get(b)
        size = of_a or of_b
        rows.append(
            Row(
                request.results.target(Path(), name).name, a, b,
                width=str(size.width) if size else "", height=str(size.height) if size else "",
                kind_a=of_a.about if of_a else "", kind_b=of_b.about if of_b else "",
                task=request.task, state=f"{BAD}: {'; '.join(found)}",
            )
        )  # fmt: skip
    return rows


def plan(rows: Sequence[Row], known: Mapping[str, Row], request: Request) -> Plan:
    """Divides what is asked for into what is to be made and what is there.

    Args:
        rows: of the good pairs.
        known: the list as it stands, by output.
        request: where, and whether pictures are made anew.

    Raises:
        UserError: pictures that are there were made otherwise, as by another module.
    """
    to_make, unknown, otherwise = [], [], []
    there = 0
    for index, row in enumerate(rows):
        if request.overwrite or not is_there(request.out / row.output):
            to_make.append(index)
            continue
        there += 1
        old = known.get(row.output)
        if old is None or old.state.startswith(BAD):
            unknown.append(replace(row, module="", weights_sha256="", settings="", state=THERE))
        elif old.state == FUSED:
            differing = {words: None for name, words in _COMPARED.items() if getattr(old, name) != getattr(row, name)}
            if differing:
                otherwise.append(f"  {row.output}: {', '.join(differing)}")
    if otherwise:
        more = f"\n  … and {len(otherwise) - _MOST_LISTED} more" if len(otherwise) > _MOST_LISTED else ""
        raise UserError(
            f"--out {request.out}: {len(otherwise)} of the pictures there were made otherwise: --overwrite fuses them "
            "anew, another --out keeps both\n" + "\n".join(otherwise[:_MOST_LISTED]) + more
        )
    return Plan(list(rows), to_make, there, unknown)


def is_there(file: Path) -> bool:
    """Returns True where there is a picture, or what else has content."""
    # A machine that lost its power may leave a file without content.
    return file.is_file() and file.stat().st_size > 0


def _range(extent: Extent | None) -> str:
    return "full" if extent is None else f"{extent[0]:g},{extent[1]:g}"
