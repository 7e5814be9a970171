"""The variants of an ablation: each a mapping of settings laid over the base's; another one is another row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refusion.config.layers import check
from refusion.config.settings import Settings
from refusion.errors import UserError

LEARNED = "learned"
"""The variant that all others are compared with: the base as it is."""


@dataclass(frozen=True)
class Variant:
    """One change to a training.

    Attributes:
        name: in tables and on the command line.
        changes: settings laid over the base's, nested by section.
        random_direction: P moves as far as its meta-gradients say, in random directions.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    random_direction: bool = False

    @property
    def folder(self) -> str:
        """The name as a folder has it."""
        return self.name.replace(" ", "-")

    def settings(self, base: Settings) -> Settings:
        """Returns the base with the changes laid over it.

        Raises:
            UserError: they do not go together.
        """
        return check([self.changes], base)


def _fixed(kind: str) -> dict[str, Any]:
    """Changes that put a proposal without parameters in the place of P."""
    network = {"loss_proposal_kind": f"refusion.networks.fixed:{kind}", "loss_proposal_options": {}}
    return {"schedule": {"meta_iterations": 0}, "network": network}


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(LEARNED),
        Variant("half", _fixed("HalfProposal")),
        Variant("saliency", _fixed("SaliencyProposal")),
        Variant("maxabs", {"objective": {"gradient": "maxabs"}}),
        Variant("published reward", {"objective": {"reward": "published", "channel_noise": 0.0}}),
        Variant("published space", {"meta": {"space": "parameters"}}),
        Variant("published gradient", {"objective": {"gradient": "learned"}}),
        Variant("not equivariant", {"network": {"equivariant": False}}),
        Variant("squared weights", {"objective": {"weighting": "squared"}}),
        Variant("only w", {"objective": {"learned": "intensity"}}),
        Variant("only v", {"objective": {"learned": "gradient"}}),
        Variant("random direction", random_direction=True),
    )
}


def find_variants(names: Sequence[str] | None) -> list[Variant]:
    """Returns the variants of these names, each once and `learned` first; all where ``names`` is None.

    Raises:
        UserError: there is no such variant.
    """
    wanted = [LEARNED, *(VARIANTS if names is None else names)]
    unknown = [name for name in wanted if name not in VARIANTS]
    if unknown:
        raise UserError(f"--variants {unknown[0]!r}: there is none; choose from {', '.join(VARIANTS)}")
    return [VARIANTS[name] for name in dict.fromkeys(wanted)]
