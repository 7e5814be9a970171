from __future__ import annotations

import pytest

from refusion.ablations.variants import LEARNED, VARIANTS, find_variants
from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError


@pytest.fixture(scope="module")
def mended() -> Settings:
    """A base with every mend, so that each variant takes one away; that only v is learned is one of them."""
    return check(
        [
            {
                "objective": {
                    "reward": "salient", "channel_noise": 0.1, "gradient": "signed", "weighting": "linear",
                    "alpha": 0.05, "learned": "gradient",
                },
                "meta": {"space": "image"},
                "network": {"equivariant": True, "centred": True, "output": "mixture"},
                "outer": {"kind": "adam"},
            }
        ]
    )  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_changes_the_base_and_nothing_else_does(name: str, mended: Settings) -> None:
    variant = VARIANTS[name]
    is_other = variant.settings(mended) != mended
    assert is_other == (name not in (LEARNED, "random direction", "only v"))
    assert variant.random_direction == (name == "random direction")


@pytest.mark.parametrize("learned", ["both", "gradient"])
def test_saliency_takes_the_place_of_the_weights_that_are_learned(learned: str) -> None:
    base = check([{"objective": {"learned": learned}}])
    assert VARIANTS["saliency"].settings(base).network.loss_proposal_options == {"of": learned}


def test_learned_is_always_among_them_and_first() -> None:
    assert [variant.name for variant in find_variants(["half", "half", "only w"])] == ["learned", "half", "only w"]
    usual = [variant.name for variant in find_variants(None)]
    assert usual[0] == "learned" and usual[-1] == "published"
    assert {*VARIANTS} - {*usual} == {name for name in VARIANTS if name.endswith(" alone")}


def test_published_takes_every_mend_away_and_each_alone_keeps_one(mended: Settings) -> None:
    published = VARIANTS["published"].settings(mended)
    orders = {name: getattr(published.network, name) for name in ("equivariant", "centred")}
    assert orders == {"equivariant": False, "centred": False}
    objective = published.objective
    assert (objective.reward, objective.channel_noise, objective.gradient) == ("published", 0.0, "learned")
    assert (objective.weighting, published.meta.space, published.outer.kind) == ("squared", "parameters", "normalised")
    kept = ("reward", "space", "gradient", "gradients first", "mixture", "equivariance", "centring", "linear weights")
    for name in (*kept, "outer step"):
        alone = VARIANTS[f"{name} alone"].settings(mended)
        sections = {
            section for section in Settings.model_fields if getattr(alone, section) != getattr(published, section)
        }
        assert len(sections) == 1 and alone != mended


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="--variants 'hlaf': there is none; choose from learned, half"):
        find_variants(["hlaf"])
