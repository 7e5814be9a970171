from __future__ import annotations

import pytest

from refusion.ablations.variants import LEARNED, VARIANTS, find_variants
from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError


@pytest.fixture(scope="module")
def mended() -> Settings:
    """A base with every mend, so that each variant takes one away."""
    return check(
        [
            {
                "objective": {
                    "reward": "salient", "channel_noise": 0.1, "gradient": "signed", "weighting": "linear",
                },
                "meta": {"space": "image"},
                "network": {"equivariant": True},
                "outer": {"kind": "adam"},
            }
        ]
    )  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_changes_the_base_and_nothing_else_does(name: str, mended: Settings) -> None:
    variant = VARIANTS[name]
    is_other = variant.settings(mended) != mended
    assert is_other == (name not in (LEARNED, "random direction"))
    assert variant.random_direction == (name == "random direction")


def test_learned_is_always_among_them_and_first() -> None:
    assert [variant.name for variant in find_variants(["half", "half", "only w"])] == ["learned", "half", "only w"]
    assert [variant.name for variant in find_variants(None)] == list(VARIANTS)


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="--variants 'hlaf': there is none; choose from learned, half"):
        find_variants(["hlaf"])
