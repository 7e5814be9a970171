"""Words and letters of the display, for ``--help-terms``: one table, without what is slow to import."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from functools import partial
from typing import Any

from refusion.cli.help.settings import entry, facts_text

_TERMS: dict[str, dict[str, str]] = {
    "modules": {
        "a, b": "the two sources of a pair, as luminance in [0, 1]",
        "F": "fusion module: makes the fused image of a and b; what is registered and fuses pictures afterwards",
        "P": "loss proposal module: proposes at every pixel how much of each source F must keep (w, v)",
        "R": "reconstruction module: rebuilds a and b from the fused image alone; only training needs it",
    },
    "phases of an epoch": {
        "meta": "meta-iterations: F takes K inner steps on a trial copy, and P moves so that R then rebuilds better",
        "fusion": "fusion updates: F learns by the loss that P proposes, and R to rebuild",
        "validation": "the val pairs are fused at full size and scored as the pictures that would be saved",
        "epoch 0": "validation before the first step: what the untrained modules do",
    },
    "numbers": {
        "L_f": "the learned loss of F, α · intensity term + β · gradient term; since P and β change it, it may rise "
        "while pictures become better: compare scores, not L_f",
        "L_r": "reconstruction loss: error of R in rebuilding both sources; P's reward, lower is better",
        "α, β": "weights of the intensity and of the gradient term in L_f; β may grow over the epochs "
        "(--objective.beta_ramp)",
        "w, v": "P's weights of the intensities and of the gradients: of each pixel, 1 in all for the two sources",
        "K": "inner steps of a meta-iteration (--schedule.inner_steps)",
        "rate": "learning rate of F and R at this step (--schedule.rate)",
        "η": "inner rate, of the inner steps (--schedule.inner_rate)",
        "images/s": "pairs trained with per second, over all workers",
        "left": "time to the end of this task's training, measured all along; other tasks may wait for it",
    },
    "states of a task": {
        "waiting": "for a place: as many tasks train at a time as fit",
        "starting": "what it waits for stands beside it",
        "restarting": "a worker was lost; goes on from the newest checkpoint",
        "done, failed": "ended; what failed says why",
    },
    "results": {
        "best": "the epoch with the highest --validation.best_by; it is registered, and kept as TASK/best",
        "last": "the newest epoch",
        "(a + b) / 2": "plain average of the sources, the least that a fusion must beat",
        "convention": "the public evaluator whose definition of the metrics is used (docs/metrics.md)",
        "score": "of a sweep's trial: share of the comparisons with the other trials that it wins; 1 is best",
    },
}
_METRICS = (
    "metrics of grey levels 0 to 255 (a training shows EN SD SF AG SCD SSIM VIF Qabf; noise raises EN SD SF AG too)"
)
_COLUMN, _METRICS_COLUMN = 16, 18


def terms_text() -> str:
    """Returns the table of all words, as wide as the terminal."""
    lines = ["Words and letters of the display (docs/method.md has the formulas)"]
    wrapped = partial(textwrap.wrap, width=shutil.get_terminal_size().columns - 2)
    for title, terms in (_TERMS | {_METRICS: _metrics()}).items():
        lines += ["", *wrapped(f"{title}:")]
        for term, meaning in terms.items():
            lines += entry(term, meaning, _METRICS_COLUMN if title == _METRICS else _COLUMN)
    return "\n".join(lines)


def _metrics() -> dict[str, str]:
    """Returns the meaning of each metric by its name with an arrow, from the list of ``--help``."""
    found = {}
    for line in facts_text("metrics").splitlines()[1:]:
        if not line.startswith("  "):
            break
        name, arrow, meaning = line.strip().split(" ", 2)
        found[f"{name} {arrow}"] = meaning
    return found


class PrintTerms(argparse.Action):
    """Option without a value that prints the table and leaves, as ``--help`` does."""

    def __init__(self, option_strings: Any, dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Prints and leaves with status 0."""
        print(terms_text())
        parser.exit()
