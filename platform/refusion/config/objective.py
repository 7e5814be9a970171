"""Settings of the fusion loss and of the reconstruction loss."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from refusion.config.import_kind import or_import_path
from refusion.config.per_epoch import NumberOrPiecewise, at, starts
from refusion.config.schedules import NonNegativeFloat, Section

PUBLISHED = "published"
SALIENT, DETAIL = "salient", "detail"
Learned = Literal["both", "intensity", "gradient"]
"""Pairs of weights that are learned."""


class ObjectiveSettings(Section):
    """Fusion loss, with the coefficients of L_f = α·L_int + β·L_grad, and reconstruction loss."""

    kind: Annotated[str, or_import_path("module:function", PUBLISHED)] = Field(
        PUBLISHED,
        description="fusion loss: published, or a function of yours of (fused, sources, weights) as module:function",
    )
    reward: Annotated[str, or_import_path("module:function", PUBLISHED, SALIENT, DETAIL)] = Field(
        DETAIL,
        description="reconstruction loss: published, salient (each source counts where it has something to say), "
        "detail (salient, gradients first), or a function of yours of (rebuilt, sources) as module:function",
    )
    channel_noise: NonNegativeFloat = Field(
        0.1, description="R sees the fused image through a channel with normal noise of this deviation (image: 0 to 1)"
    )
    alpha: NumberOrPiecewise[NonNegativeFloat] = Field(
        0.05, description="weight of the intensity term: a number, or by epochs gone before {0: …, 5: …}"
    )
    beta: NumberOrPiecewise[NonNegativeFloat] = Field(
        1.0, description="weight of the gradient term (at the end of the ramp): a number, or {0: …, 5: …}"
    )
    beta_ramp: Literal["linear", "constant"] = Field("constant", description="linear: β·epoch/epochs")
    gradient: Literal["learned", "signed", "maxabs"] = Field(
        "signed",
        description="learned weights v of squared sums of magnitudes (learned) or of signed differences (signed), or "
        "the larger gradient (maxabs)",
    )
    weighting: Literal["squared", "linear"] = Field(
        "linear", description="squared differences are weighed by the weights squared (published) or as they are"
    )
    learned: Learned | None = Field(
        None,
        description="weights that the built-in P learns, the others staying one half: both, intensity or gradient; "
        "default gradient, or both where the fusion loss is yours or its gradient term has no weights",
    )

    @property
    def learned_weights(self) -> Learned:
        """Pair of weights that P learns, or both."""
        if self.learned is not None:
            return self.learned
        return "gradient" if self.kind == PUBLISHED and self.gradient != "maxabs" else "both"

    def beta_at(self, epoch: int, epochs: int) -> float:
        """Returns β in that epoch (0-based): on the linear ramp, (epoch + 1)/epochs of its full value (published).

        A piecewise β changes the full value; the ramp goes on.
        """
        beta = at(self.beta, epoch)
        return beta if self.beta_ramp == "constant" else beta * (epoch + 1) / epochs

    @model_validator(mode="after")
    def _something_is_learned(self) -> ObjectiveSettings:
        if self.kind != PUBLISHED:
            return self
        if self.gradient == "maxabs" and self.learned == "gradient":
            raise ValueError(
                "the gradient term 'maxabs' has no weights, and learned 'gradient' leaves those of the intensity term "
                "at one half; give learned 'intensity'"
            )
        for epoch in starts(self.alpha, self.beta):
            if at(self.alpha, epoch) == 0 and (at(self.beta, epoch) == 0 or self.gradient == "maxabs"):
                when = f"after {epoch} epochs, " if epoch else ""
                raise ValueError(
                    f"{when}with alpha 0 no term has learned weights; raise alpha, or beta with gradient 'learned'"
                )
        return self
