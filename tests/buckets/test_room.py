from __future__ import annotations

from collections.abc import Callable

import pytest
from clouds.object_store import Store

from refusion.buckets.room import BOUND
from refusion.buckets.staging import staged
from refusion.errors import UserError

PAIRS = "s3://ours/pairs"


def test_what_is_not_used_gives_way_to_what_is_to_come(
    pairs: Store, monkeypatch: pytest.MonkeyPatch, forget: Callable[[], None]
) -> None:
    said: list[str] = []
    pairs.put("others/x", b"x" * 1500)
    monkeypatch.setenv(BOUND, "4e-6")
    first = staged(PAIRS, "--data")
    with pytest.raises(UserError, match=rf"others: 1.5e-06 GB more would exceed {BOUND}=4e-06, and other jobs use"):
        staged("s3://ours/others", "--data")
    forget()
    second = staged("s3://ours/others", "--data", say=said.append)
    assert not first.exists() and second.exists()
    assert said[0] == f"{first}: removed, to stay within {BOUND}=4e-06"


@pytest.mark.parametrize(
    ("bound", "sentence"),
    [
        ("1e-6", f"--data {PAIRS}: its 2.3e-06 GB are more than staged files may take on a machine ({BOUND}=1e-06)"),
        ("much", f"{BOUND}=much: is no size"),
    ],
)
def test_the_bound_is_said(pairs: Store, monkeypatch: pytest.MonkeyPatch, bound: str, sentence: str) -> None:
    monkeypatch.setenv(BOUND, bound)
    with pytest.raises(UserError) as refused:
        staged(PAIRS, "--data")
    assert str(refused.value).startswith(sentence)
