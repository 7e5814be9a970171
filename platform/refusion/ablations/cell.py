"""A cell of an ablation: one training of one variant of one task with one seed, kept as a checkpoint of its own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml

from refusion.ablations.variants import Variant
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.images.dataset import TaskPairs
from refusion.training.checkpoints import SETTINGS_FILE

Equal = Literal["steps", "time"]
SCORES_FILE = "scores.csv"
COST_FILE = "cost.json"


@dataclass(frozen=True)
class Cost:
    """Expense of a training, without its validation.

    Attributes:
        seconds: wall time.
        work_per_epoch: seconds that an epoch has kept the processors busy, which what else they do hardly changes, or,
            on a GPU, its wall time; without the first epoch, which compiles, where there is another one.
        meta_iterations, fusion_steps: in all.
    """

    seconds: float
    work_per_epoch: float
    meta_iterations: int
    fusion_steps: int


@dataclass(frozen=True)
class Cell:
    """One training of an ablation.

    Attributes:
        pairs: of the task, checked.
        variant: what is changed.
        equal: "steps" where it has the base's steps, "time" where it has as many as take the base's time.
        settings: of the training, the variant's changes and the seed in them.
        root: folder of all cells.
    """

    pairs: TaskPairs
    variant: Variant
    equal: Equal
    settings: Settings
    root: Path

    @property
    def name(self) -> str:
        """Task, variant and seed, for a line of text."""
        time = ", equal time" if self.equal == "time" else ""
        return f"{self.pairs.task} {self.variant.name}{time}, seed {self.settings.seed}"

    @property
    def folder(self) -> Path:
        """ROOT/TASK/VARIANT/SEED."""
        variant = self.variant.folder + ("-equal-time" if self.equal == "time" else "")
        return self.root / self.pairs.task / variant / str(self.settings.seed)

    def is_finished(self) -> bool:
        """Tells if the cell has its scores already.

        Raises:
            UserError: it was begun with other settings.
        """
        file = self.folder / SETTINGS_FILE
        if file.is_file():
            before = yaml.safe_load(file.read_text(encoding="utf-8"))
            now = self.settings.model_dump(mode="json")
            changed = [key for key in now if before.get(key) != now[key]]
            if changed:
                raise UserError(
                    f"--out {self.root}: {self.folder.relative_to(self.root)} was begun with another "
                    f"{', '.join(changed)}; choose another folder, or remove that one"
                )
        return (self.folder / COST_FILE).is_file()

    def cost(self) -> Cost:
        """Reads the cost of a finished cell."""
        return Cost(**json.loads((self.folder / COST_FILE).read_text(encoding="utf-8")))

    def rows(self) -> pd.DataFrame:
        """Reads the finished cell's rows of the table: a row per pair."""
        # Names such as 00012 are texts.
        table = pd.read_csv(self.folder / SCORES_FILE, dtype={"name": str})
        cost = self.cost()
        keys: dict[str, str | int] = {
            "task": self.pairs.task,
            "variant": self.variant.name,
            "equal": self.equal,
            "seed": self.settings.seed,
        }
        for place, (key, value) in enumerate(keys.items()):
            table.insert(place, key, value)
        table["convention"] = "authors"
        table["seconds"] = round(cost.seconds, 2)
        table["meta_iterations"] = cost.meta_iterations
        table["fusion_steps"] = cost.fusion_steps
        return table


def write_results(folder: Path, scores: dict[str, dict[str, float]], cost: Cost) -> None:
    """Writes the scores by pair and metric, and the cost, into a cell's folder."""
    table = pd.DataFrame.from_dict(scores, orient="index")
    table.to_csv(folder / SCORES_FILE, index_label="name", na_rep="nan", lineterminator="\n")
    (folder / COST_FILE).write_text(json.dumps(asdict(cost), indent=1) + "\n", encoding="utf-8")
