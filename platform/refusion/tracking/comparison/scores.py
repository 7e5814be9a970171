"""Scores of each validated picture as a table: of the trained module, and of the average of the sources."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from refusion.errors import UserError

TRAINED, AVERAGE = "trained", "average"
_FACTS = ("convention", "epoch", "digest")

# Picture → metric → score.
Scores = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PictureScores:
    """Scores of one epoch, picture by picture.

    Attributes:
        methods: by ``trained`` and ``average``: index names of the pictures, a float64 column per metric; NaN where a
            score is undefined.
        convention: of the metrics.
        epoch: from 1 on.
        digest: of the pairs; scores compare only where it and the convention agree.
    """

    methods: Mapping[str, pd.DataFrame]
    convention: str
    epoch: int
    digest: str


def scores_text(methods: Mapping[str, Scores], convention: str) -> str:
    """Returns a CSV table as jobs/evaluate.py does: ``name``, ``method``, a column per metric, ``convention``.

    Args:
        methods: scores of the same pictures, by method.
        convention: of the metrics.
    """
    rows = [
        {"name": name, "method": method, **scores, "convention": convention}
        for method, pictures in methods.items()
        for name, scores in pictures.items()
    ]
    return pd.DataFrame(rows).to_csv(index=False, na_rep="nan", lineterminator="\n")


def with_facts(text: str, epoch: int, digest: str) -> str:
    """Returns such a table with the columns ``epoch`` and ``digest``, as ``read_scores`` reads it."""
    table = _read(text).assign(epoch=epoch, digest=digest)
    return table.to_csv(index=False, na_rep="nan", lineterminator="\n")


def read_scores(text: str, origin: str) -> PictureScores:
    """Reads what ``with_facts`` wrote.

    Raises:
        UserError: it is no such table, or of several epochs; ``origin`` says where it was found.
    """
    try:
        table = _read(text)
        ((convention, epoch, digest),) = set(table[list(_FACTS)].itertuples(index=False, name=None))
        frames = {
            str(method): rows.drop(columns=["method", *_FACTS]).set_index("name").astype("float64")
            for method, rows in table.groupby("method", sort=False)
        }
    except (ValueError, KeyError) as error:
        raise UserError(f"{origin}: is no table of scores per picture ({error})") from error
    return PictureScores(frames, str(convention), int(epoch), str(digest))


def read_evaluated(text: str, method: str, convention: str, digest: str, origin: str) -> PictureScores | None:
    """Reads one method's scores from a table of jobs/evaluate.py, which has no epoch; None where it is not in there.

    Raises:
        UserError: it is no such table; ``origin`` says where it was found.
    """
    try:
        table = _read(text)
        if "method" in table:
            table = table[table["method"] == method]
        numbers = table.drop(columns=["method", "convention"], errors="ignore").set_index("name").astype("float64")
    except (ValueError, KeyError) as error:
        raise UserError(f"{origin}: is no table of scores per picture ({error})") from error
    return PictureScores({TRAINED: numbers}, convention, 0, digest) if len(numbers) else None


def _read(text: str) -> pd.DataFrame:
    # As texts: a picture may be called "nan", and numbers keep all their digits.
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
