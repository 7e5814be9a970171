"""Version of a registered model: what it says about itself, and whether it is the best; without MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from refusion.tracking.epochs import NUMBERING, epoch_of

# Files of a checkpoint that a version holds.
MODEL_FILES = ("fusion.safetensors", "settings.yaml")
# Earlier versions scored the luminance before its colour was restored: those scores do not compare.
_AS_SAVED = "as saved"
_COMPARED = ("dataset_digest", "score_name", "convention", "scored")


@dataclass(frozen=True)
class Version:
    """Description of a registered version; each field becomes a tag of that name.

    Attributes:
        epoch: from 1 on; 0 is before the first step.
        score_name: the metric that chose the epoch; higher is better.
        scores: means of all metrics over the validation pairs, of the fused pictures as they are saved.
        convention: of the metrics.
        dataset_digest: of the pairs that were measured; scores compare only where it, the metric and the convention
            agree.
        pairs: their number.
        data: "builtin" (generated scenes) or "folder" (real pairs).
    """

    task: str
    run_id: str
    epoch: int
    score_name: str
    scores: Mapping[str, float]
    convention: str
    dataset_digest: str
    pairs: int
    data: Literal["builtin", "folder"]

    @property
    def score(self) -> float:
        """The score that chose the epoch."""
        return self.scores[self.score_name]

    def tags(self) -> dict[str, str]:
        """The fields as MLflow's tags, the scores as ``score.NAME``; a float keeps all its digits."""
        plain = {field.name: str(getattr(self, field.name)) for field in fields(self) if field.name != "scores"}
        each = {f"score.{name}": str(score) for name, score in self.scores.items()}
        return plain | each | {"score": str(self.score), "scored": _AS_SAVED} | NUMBERING


def registered_name(task: str) -> str:
    """Name of the task's registered model, such as ``refusion-IVIF``."""
    return f"refusion-{task}"


def takes_best(holder: Mapping[str, str] | None, new: Version) -> bool:
    """Returns True where a new version takes the alias ``best`` from the holder, given by its tags or None.

    With equal validation pairs, metric and convention the higher score has it. Scores that do not compare leave it to
    the version that was measured on more pairs, of equally many to the newest; generated scenes never displace real
    pairs, which always displace them. A score that is not a number displaces nothing. A run's version takes the
    place of that run's earlier one.
    """
    if holder is None or holder.get("run_id") == new.run_id:
        return True
    if math.isnan(new.score):
        return False
    if new.data != holder.get("data"):
        return new.data != "builtin"
    tags = new.tags()
    if any(holder.get(name) != tags[name] for name in _COMPARED):
        return new.pairs >= _number(holder.get("pairs", "0"))
    held = _number(holder.get("score", "nan"))
    return math.isnan(held) or new.score > held


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def origin(tags: Mapping[str, str]) -> str:
    """Returns in words which epoch of which run a version is, with its score; from its tags, empty where they lack.

    >>> origin({"epoch": "2", "run_name": "night-IVIF", "score_name": "Qabf", "score": "0.54", "pairs": "4"})
    'epoch 3 of run night-IVIF (Qabf 0.5400 on 4 val pairs)'
    """
    if not {"epoch", "score_name", "score"} <= tags.keys():
        return ""
    run = f" of run {tags['run_name']}" if "run_name" in tags else ""
    pairs = f" on {tags['pairs']} val pair{'' if str(tags['pairs']) == '1' else 's'}" if "pairs" in tags else ""
    score = f"{tags['score_name']} {_number(tags['score']):.4f}"
    return f"epoch {epoch_of(int(tags['epoch']), tags)}{run} ({score}{pairs})"
