from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refusion.config.layers import check
from refusion.config.settings import NetworkSettings, Settings
from refusion.errors import UserError
from refusion.meta.rehearsal import rehearse
from refusion.meta.state import TrainingState
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule, start_from_average
from refusion.networks.full_size import fuse_full_size, pad_to_multiple, propose_full_size
from refusion.networks.probes import check_modules, notes
from refusion.networks.registry import Proposal, build_modules, foreign_kinds
from refusion.objectives import FusionWeights

SMALL = {"width": 8, "reconstruction_width": 8, "heads": 4, "blocks": 1}


class Tiny(nn.Module):
    """F of one convolution."""

    def __init__(self, width: int = 4, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(nn.Conv2d(2, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.scale * self.body(x))


class Strided(Tiny):
    """F whose image is as high and wide as the sources only where these are multiples of 8."""

    multiple = 8

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(super().forward(F.avg_pool2d(x, 8)), scale_factor=8.0)


class Weights(nn.Module):
    """P as one tensor of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).softmax(dim=1)


class TwoWeights(Weights):
    """P as both pairs of weights."""

    def forward(self, x: torch.Tensor) -> Any:
        return FusionWeights(super().forward(x), super().forward(x.flip(1)))


class Rebuild(nn.Module):
    """R of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Normed(Tiny):
    """F with a batch norm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(2), nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.drop(self.norm(x)))


class NoModule:
    """Is no network."""


class Failing(Tiny):
    """Cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no such weights")


class FailingForward(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.zeros(3, 3)


class TwoImages(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class ATuple(Tiny):
    def forward(self, x: torch.Tensor) -> Any:
        return super().forward(x), x


class Unbounded(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 10 * super().forward(x)


class NotFinite(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 0


class OddOnly(Strided):
    multiple = 1


class Random(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(super().forward(x), 0.5, training=True)


class OfTheBatch(Tiny):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(F.batch_norm(self.body(x), None, None, training=True))


class Empty(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1, keepdim=True)


class Frozen(Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.body[0].weight.requires_grad_(False)


class Half(Tiny):
    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(1, dtype=torch.float16))


class NoSoftmax(Weights):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).sigmoid()


class OncePlain(Tiny):
    """Cannot be differentiated twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Once.apply(super().forward(x))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad


@pytest.fixture(autouse=True)
def users() -> Iterator[None]:
    """The classes above as a module that settings can name."""
    module = types.ModuleType("users_networks")
    vars(module).update({name: value for name, value in globals().items() if isinstance(value, type)})
    sys.modules["users_networks"] = module
    yield
    del sys.modules["users_networks"]


def network(**given: Any) -> NetworkSettings:
    return NetworkSettings.model_validate(SMALL | given)


def settings(crop: int = 16, **given: Any) -> Settings:
    return check([{"network": SMALL | given, "images": {"crop": crop}}])


def test_the_built_in_modules_are_drawn_in_one_order() -> None:
    torch.manual_seed(3)
    sizes = {"heads": 4, "blocks": 1, "expansion": 2}
    expected = FusionModule(8, **sizes), LossProposalModule(8, **sizes), ReconstructionModule(8, **sizes)
    start_from_average(expected[0])
    torch.manual_seed(3)
    for found, wished in zip(build_modules(network()), expected, strict=True):
        torch.testing.assert_close(found.state_dict(), wished.state_dict(), rtol=0, atol=0)
        assert not found.training


def test_classes_of_the_users_take_the_places_with_their_options() -> None:
    chosen = network(
        kind="users_networks:Tiny",
        options={"width": 3, "scale": 2.0},
        loss_proposal_kind="users_networks:Weights",
        reconstruction_kind="users_networks:Rebuild",
    )
    fusion, proposal, reconstruction = build_modules(chosen)
    assert isinstance(fusion, Tiny)
    assert isinstance(reconstruction, Rebuild)
    assert (fusion.scale, fusion.body[0].out_channels) == (2.0, 3)
    assert not fusion.training
    weights = proposal(torch.rand(1, 2, 8, 9))
    assert torch.equal(weights.intensity, weights.gradient)
    assert foreign_kinds(chosen) == {
        "network.kind": "users_networks:Tiny",
        "network.loss_proposal_kind": "users_networks:Weights",
        "network.reconstruction_kind": "users_networks:Rebuild",
    }
    assert foreign_kinds(network()) == {}


@pytest.mark.parametrize("learned", [True, False])
def test_both_results_of_a_proposal_become_weights(learned: bool) -> None:
    x = torch.rand(2, 2, 8, 9)
    one, two = (Proposal(module, learned)(x) for module in (Weights(), TwoWeights()))
    assert (one.gradient is not None) == (two.gradient is not None) == learned
    if learned:
        assert not torch.equal(two.intensity, two.gradient)


def test_everything_random_of_a_users_class_follows_the_seed() -> None:
    states = [TrainingState(settings(kind="users_networks:Tiny"), "IVIF") for _ in range(2)]
    torch.testing.assert_close(states[0].fusion.state_dict(), states[1].fusion.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("users_networks:Missing", {}, "has no 'Missing'"),
        ("users_nowhere:Net", {}, "there is no module 'users_nowhere'"),
        ("os:system", {"command": "touch ran"}, "is no class of torch.nn.Module"),
        ("users_networks:NoModule", {}, "is no class of torch.nn.Module"),
        ("users_networks:Tiny", {"depth": 3}, "--network.options: users_networks:Tiny does not take them"),
        ("users_networks:Failing", {}, "cannot be made with its options: RuntimeError: no such weights"),
        ("users_networks:FailingForward", {}, "a batch of shape (2, 2, 24, 32) makes it fail: RuntimeError"),
        ("users_networks:TwoImages", {}, "gives a result of shape (2, 2, 24, 32); it must be (2, 1, 24, 32)"),
        ("users_networks:ATuple", {}, "gives a result of type tuple"),
        ("users_networks:Unbounded", {}, "they must lie within 0 and 1: end with a sigmoid"),
        ("users_networks:NotFinite", {}, "gives values that are not finite"),
        ("users_networks:OddOnly", {}, "a batch of shape (2, 2, 23, 37) gives a result of shape (2, 1, 16, 32)"),
        ("users_networks:Random", {}, "gives another result each time"),
        ("users_networks:OfTheBatch", {}, "depends on the rest of the batch"),
        ("users_networks:Empty", {}, "has no parameters"),
        ("users_networks:Frozen", {}, "its parameter body.0.weight is frozen"),
        ("users_networks:Half", {}, "its parameter extra is torch.float16"),
        ("users_networks:OncePlain", {}, "a meta-gradient on crops of 16 pixels fails"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_before_a_training(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        rehearse(settings(kind=kind, options=options))
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
        rehearse(settings(**{place: f"users_networks:{kind}"}))
    assert f"--network.{place} users_networks:{kind}" in str(caught.value)
    assert message in str(caught.value)


def test_good_classes_pass_and_layers_of_two_modes_are_named() -> None:
    assert rehearse(settings()) == []
    assert rehearse(settings(kind="users_networks:Tiny", loss_proposal_kind="users_networks:TwoWeights")) == []
    (note,) = rehearse(settings(kind="users_networks:Normed"))
    assert note.startswith("--network.kind users_networks:Normed: is trained in evaluation mode")
    assert "BatchNorm2d, Dropout" in note
    own = network(kind="users_networks:Normed")
    assert notes(build_modules(own), own) == [note]


def test_crops_must_be_multiples_of_what_the_class_says() -> None:
    assert rehearse(settings(16, kind="users_networks:Strided")) == []
    with pytest.raises(UserError, match=r"--images\.crop 20: must be a multiple of 8 with --network\.kind"):
        rehearse(settings(20, kind="users_networks:Strided"))
    own = network(kind="users_networks:Strided")
    check_modules(build_modules(own), own)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (16, 24), (23, 37)])
def test_whole_pictures_of_any_size_are_fused_by_padding(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    module, sources = Strided().eval(), torch.rand(1, 2, *size)
    fused = fuse_full_size(module, sources)
    assert fused.shape == (1, 1, *size)
    assert not fused.requires_grad
    if size == (16, 24):
        assert torch.equal(fused, module(sources))
    proposal = Proposal(Weights(), learn_gradient_weights=True)
    assert propose_full_size(proposal, sources).intensity.shape == sources.shape


def test_a_picture_that_does_not_fit_says_so() -> None:
    with pytest.raises(UserError, match=r"OddOnly: pictures of 9×8 pixels .* attribute `multiple`"):
        fuse_full_size(OddOnly(), torch.rand(1, 2, 8, 9))


def test_padding_reflects_below_and_on_the_right() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    padded = pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :3, :3], image)
    assert torch.equal(padded[..., :3, 3], image[..., 1])
    assert pad_to_multiple(image, 1) is image
