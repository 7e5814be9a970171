"""Networks as users bring them, good ones and bad ones, named as ``foreign_networks:Class``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from refusion.objectives import FusionWeights


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
        return F.dropout(super().forward(x) / 2, 0.5, training=True)


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
