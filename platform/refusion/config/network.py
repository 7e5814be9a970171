"""Settings of the three modules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from refusion.config.import_kind import or_import_path
from refusion.config.schedules import Section

BUILTIN_NETWORK = "refusion"

Output = Literal["image", "mixture"]
"""Results of F's last convolution: the image's logits, or shares of the sources and what to add."""

NetworkKind = Annotated[str, or_import_path("module:Class", BUILTIN_NETWORK)]


class NetworkSettings(Section):
    """The three modules F, P and R: the built-in ones in chosen sizes, or classes of the user's by import path.

    By default F has the published sizes and mixes its sources. Sizes are those of the built-in modules; another class
    takes its options.
    """

    kind: NetworkKind = Field(
        BUILTIN_NETWORK, description="F: refusion (the published network), or a class of yours as module:Class"
    )
    options: dict[str, Any] = Field({}, description="keyword arguments of that class, as --network.options.key value")
    loss_proposal_kind: NetworkKind = Field(BUILTIN_NETWORK, description="P: refusion, or module:Class")
    loss_proposal_options: dict[str, Any] = Field({}, description="keyword arguments of that class")
    reconstruction_kind: NetworkKind = Field(BUILTIN_NETWORK, description="R: refusion, or module:Class")
    reconstruction_options: dict[str, Any] = Field({}, description="keyword arguments of that class")
    width: int = Field(16, ge=1, description="channels of F and P")
    reconstruction_width: int = Field(16, ge=1, description="channels of R")
    heads: int = Field(8, ge=1, description="attention heads")
    blocks: int = Field(2, ge=1, description="blocks per stage")
    expansion: int = Field(2, ge=1, description="widening inside the gated feed-forward")
    output: Output = Field(
        "mixture",
        description="the built-in F finds the image's logits, or each pixel's shares of the sources and what to add",
    )
    even_below: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="in fused pictures, not in training, a mixture's shares go to one half where the sources' squared "
        "gradients are below this, which averages noise (0: never)",
    )
    equivariant: bool = Field(
        True, description="the built-in P treats both orders of the sources alike, by adding the logits of both"
    )
    centred: bool = Field(
        False, description="the built-in P's logits have mean 0 over a picture: no source is given up in the whole"
    )
    prior: Literal["none", "saliency"] = Field(
        "saliency", description="the built-in P begins with equal weights, or with saliency's and learns what to change"
    )
    reconstruction_from_fused: bool = Field(
        True, description="the built-in R learns what to add to the fused image, instead of finding it first"
    )
    start: Literal["average", "random", "pretrained"] = Field(
        "average",
        description="the built-in F begins near the average of the sources, with random weights, or (and P with it) as "
        "the trained modules that come along",
    )

    @model_validator(mode="after")
    def _options_belong_to_a_class(self) -> NetworkSettings:
        for prefix in ("", "loss_proposal_", "reconstruction_"):
            if getattr(self, f"{prefix}kind") == BUILTIN_NETWORK and getattr(self, f"{prefix}options"):
                raise ValueError(
                    f"{prefix}options are those of a class given by {prefix}kind module:Class; the built-in network "
                    "has width, heads, blocks and expansion"
                )
        return self

    @model_validator(mode="after")
    def _shares_are_there(self) -> NetworkSettings:
        if self.even_below and self.output != "mixture" and self.kind == BUILTIN_NETWORK:
            raise ValueError("even_below goes with shares of the sources; give output mixture, or even_below 0")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> NetworkSettings:
        for name in ("width", "reconstruction_width"):
            if getattr(self, name) % self.heads:
                raise ValueError(f"{name} ({getattr(self, name)}) must be a multiple of heads ({self.heads})")
        return self
