from __future__ import annotations

from typing import Any

import pytest

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.meta.rehearsal import rehearse

SMALL = {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1}


def settings(crop: int = 16, **given: Any) -> Settings:
    return check([{"network": SMALL | given, "images": {"crop": crop}}])


def test_nothing_is_said_of_the_built_in_networks_and_of_good_classes() -> None:
    assert rehearse(settings()) == []
    assert rehearse(settings(kind="foreign_networks:Tiny", loss_proposal_kind="foreign_networks:TwoWeights")) == []


def test_notes_are_those_of_the_probes() -> None:
    (note,) = rehearse(settings(kind="foreign_networks:Normed"))
    assert note.startswith("--network.kind foreign_networks:Normed: is trained in evaluation mode")


@pytest.mark.parametrize(
    ("crop", "kind", "message"),
    [
        (16, "OncePlain", "--network.kind foreign_networks:OncePlain: a meta-gradient on crops of 16 pixels fails"),
        (16, "Unbounded", "they must lie within 0 and 1"),
        (20, "Strided", "--images.crop 20: must be a multiple of 8"),
    ],
)
def test_what_fails_is_said_before_a_training(crop: int, kind: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        rehearse(settings(crop, kind=f"foreign_networks:{kind}"))
    assert message in str(caught.value)


@pytest.mark.parametrize("setting", ["kind", "reward"])
def test_a_loss_and_a_reward_are_tried_out_too(setting: str) -> None:
    wrong = {"kind": "refusion.objectives:sobel", "reward": "refusion.objectives:image_gradient"}[setting]
    with pytest.raises(UserError, match=f"--objective.{setting} {wrong}: "):
        rehearse(check([{"objective": {setting: wrong}}]))
    own = {"kind": "refusion.objectives:fusion_loss", "reward": "refusion.objectives:reconstruction_loss"}
    assert rehearse(check([{"objective": own}])) == []
    own_network = {"network": SMALL | {"kind": "foreign_networks:Tiny"}, "images": {"crop": 16}}
    assert rehearse(check([{"objective": own}, own_network])) == []
