from __future__ import annotations

from typing import Any

import pytest

from refusion.config.network import NetworkSettings
from refusion.errors import UserError
from refusion.networks.probes import check_modules, notes
from refusion.networks.registry import build_modules

SMALL = {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1}


def probe(*crops: int, **given: Any) -> list[str]:
    """Builds and checks modules; returns the notes about them."""
    network = NetworkSettings.model_validate(SMALL | given)
    modules = build_modules(network)
    check_modules(modules, network, crops)
    return notes(modules, network)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("foreign_networks:Missing", {}, "has no 'Missing'"),
        ("users_nowhere:Net", {}, "there is no module 'users_nowhere'"),
        ("os:system", {"command": "touch ran"}, "is no class of torch.nn.Module"),
        ("foreign_networks:NoModule", {}, "is no class of torch.nn.Module"),
        ("foreign_networks:Tiny", {"depth": 3}, "--network.options: foreign_networks:Tiny does not take them"),
        ("foreign_networks:Failing", {}, "cannot be made with its options: RuntimeError: no such weights"),
        ("foreign_networks:FailingForward", {}, "a batch of shape (2, 2, 24, 32) makes it fail: RuntimeError"),
        ("foreign_networks:TwoImages", {}, "gives a result of shape (2, 2, 24, 32); it must be (2, 1, 24, 32)"),
        ("foreign_networks:ATuple", {}, "gives a result of type tuple"),
        ("foreign_networks:Unbounded", {}, "they must lie within 0 and 1: end with a sigmoid"),
        ("foreign_networks:NotFinite", {}, "gives values that are not finite"),
        ("foreign_networks:OddOnly", {}, "a batch of shape (2, 2, 23, 37) gives a result of shape (2, 1, 16, 32)"),
        ("foreign_networks:Random", {}, "gives another result each time"),
        ("foreign_networks:OfTheBatch", {}, "depends on the rest of the batch"),
        ("foreign_networks:Empty", {}, "has no parameters"),
        ("foreign_networks:Frozen", {}, "its parameter body.0.weight is frozen"),
        ("foreign_networks:Half", {}, "its parameter extra is torch.float16"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_before_a_training(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        probe(kind=kind, options=options)
    assert message in str(caught.value)
    assert "--network." in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "kind", "message"),
    [
        ("loss_proposal_kind", "NoSoftmax", "do not sum to 1"),
        ("loss_proposal_kind", "Tiny", "gives a result of shape (2, 1, 24, 32); it must be (2, 2, 24, 32)"),
        ("reconstruction_kind", "Weights", "a batch of shape (2, 1, 24, 32) makes it fail"),
    ],
)
def test_what_is_wrong_with_the_other_two_is_said_too(place: str, kind: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        probe(**{place: f"foreign_networks:{kind}"})
    assert f"--network.{place} foreign_networks:{kind}" in str(caught.value)
    assert message in str(caught.value)


def test_good_classes_pass_and_layers_of_two_modes_are_named() -> None:
    assert probe() == []
    assert probe(kind="foreign_networks:Tiny", loss_proposal_kind="foreign_networks:TwoWeights") == []
    (note,) = probe(kind="foreign_networks:Normed")
    assert note.startswith("--network.kind foreign_networks:Normed: is trained in evaluation mode")
    assert "BatchNorm2d, Dropout" in note


def test_crops_must_be_multiples_of_what_the_class_says() -> None:
    assert probe(16, 24, kind="foreign_networks:Strided") == []
    with pytest.raises(UserError, match=r"--images\.crop 20: must be a multiple of 8 with --network\.kind"):
        probe(16, 20, kind="foreign_networks:Strided")
