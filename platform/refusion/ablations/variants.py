"""The variants of an ablation: each a mapping of settings laid over the base's; another one is another row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from refusion.config.layers import check, merge
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
        of_learned: the proposal stands for those weights alone that the base learns, so that learning is all that
            differs.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    random_direction: bool = False
    of_learned: bool = False

    @property
    def folder(self) -> str:
        """The name as a folder has it."""
        return self.name.replace(" ", "-")

    def settings(self, base: Settings) -> Settings:
        """Returns the base with the changes laid over it.

        Raises:
            UserError: they do not go together.
        """
        changes = self.changes
        if self.of_learned:
            changes = merge(changes, {"network": {"loss_proposal_options": {"of": base.objective.learned_weights}}})
        return check([changes], base)


def _fixed(kind: str) -> dict[str, Any]:
    """Changes that put a proposal without parameters in the place of P."""
    network = {"loss_proposal_kind": f"refusion.networks.fixed:{kind}", "loss_proposal_options": {}}
    return {"schedule": {"meta_iterations": 0}, "network": network}


_MENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "reward": ("published reward", {"objective": {"reward": "published", "channel_noise": 0.0}}),
    "space": ("published space", {"meta": {"space": "parameters"}}),
    "gradient": ("published gradient", {"objective": {"gradient": "learned"}}),
    "equivariance": ("not equivariant", {"network": {"equivariant": False}}),
    "centring": ("not centred", {"network": {"centred": False}}),
    "gradients first": ("both weights", {"objective": {"alpha": 1.0, "learned": "both"}}),
    "mixture": ("image output", {"network": {"output": "image", "even_below": 0.0}}),
    "linear weights": ("squared weights", {"objective": {"weighting": "squared"}}),
    "outer step": ("published outer step", {"outer": {"kind": "normalised"}}),
}
"""Mends of the published method: the variant that takes one away, and the settings that do."""


def _published(*but: str) -> dict[str, Any]:
    """Changes that take all mends away but these."""
    return reduce(merge, (changes for mend, (_, changes) in _MENDS.items() if mend not in but), {})


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(LEARNED),
        Variant("half", _fixed("HalfProposal")),
        Variant("saliency", _fixed("SaliencyProposal"), of_learned=True),
        Variant("maxabs", {"objective": {"gradient": "maxabs", "learned": "intensity"}}),
        *(Variant(name, changes) for name, changes in _MENDS.values()),
        Variant("only w", {"objective": {"learned": "intensity"}}),
        Variant("only v", {"objective": {"learned": "gradient"}}),
        Variant("random direction", random_direction=True),
        Variant("published", _published()),
        *(Variant(f"{mend} alone", _published(mend)) for mend in _MENDS),
    )
}


def find_variants(names: Sequence[str] | None) -> list[Variant]:
    """Returns the variants of these names, each once and `learned` first.

    Args:
        names: by default those that change one thing, and `published`, which takes all mends away.

    Raises:
        UserError: there is no such variant.
    """
    usual = [name for name in VARIANTS if not name.endswith(" alone")]
    wanted = [LEARNED, *(usual if names is None else names)]
    unknown = [name for name in wanted if name not in VARIANTS]
    if unknown:
        raise UserError(f"--variants {unknown[0]!r}: there is none; choose from {', '.join(VARIANTS)}")
    return [VARIANTS[name] for name in dict.fromkeys(wanted)]
