from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from refusion.errors import UserError
from refusion.tracking.comparison.scores import read_scores, scores_text, with_facts

TRAINED = {
    "nan": {"EN": 0.1 + 0.2, "PSNR": math.inf},
    "007": {"EN": 7.0, "PSNR": math.nan},
    "a,b": {"EN": 1, "PSNR": 2},
}
AVERAGE = {name: {"EN": 6.5, "PSNR": 1.0} for name in TRAINED}


def test_table_comes_back_as_it_was_written() -> None:
    text = with_facts(scores_text({"trained": TRAINED, "average": AVERAGE}, "authors"), 4, "01e5")
    found = read_scores(text, "somewhere")
    assert (found.convention, found.epoch, found.digest) == ("authors", 4, "01e5")
    assert list(found.methods) == ["trained", "average"]
    frame = found.methods["trained"]
    assert list(frame.index) == list(TRAINED)
    assert frame.loc["nan", "EN"] == 0.1 + 0.2 and np.isinf(frame.loc["nan", "PSNR"])
    assert math.isnan(frame.loc["007", "PSNR"])
    assert (found.methods["average"]["EN"] == 6.5).all()


def test_it_has_the_form_of_an_evaluations_table() -> None:
    table = pd.read_csv(io.StringIO(scores_text({"trained": TRAINED}, "authors")))
    assert list(table.columns) == ["name", "method", "EN", "PSNR", "convention"]


@pytest.mark.parametrize("text", ["", "name,EN\na,1\n", "name,method,EN,convention,epoch,digest\na,trained,x,c,1,d\n"])
def test_something_else_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(UserError, match=r"run 7: is no table of scores per picture"):
        read_scores(text, "run 7")
