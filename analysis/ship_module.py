"""Put a trained module into the package, with a card that says where it comes from and how good it is.

python analysis/ship_module.py --checkpoint RUN/IVIF/best --task IVIF --scores scores.csv --scored 'val of DATA' \\
    --data '500 pairs of …' --terms 'research use only' --wall-time 1:52:03 \\
    --command 'python jobs/train_all_tasks.py --preset results --tasks IVIF --data DATA'

SCORES is what jobs/evaluate.py writes for this checkpoint. Weights are stored as they are where F and P fit in 300 KB
together, else as float16, if that leaves the scores on built-in scenes what they are; else F is stored alone. Digests,
seed, machine, version, commit and golden scores are computed.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import safetensors.torch
import torch
import yaml

# The code beside this file goes before an installed one.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from refusion.checksums import sha256
from refusion.cli.options import Parser, run_command
from refusion.config.layers import leaves
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.evaluation.methods import Method
from refusion.evaluation.scenes import pairs_of_split
from refusion.evaluation.scoring import Scorer
from refusion.evaluation.work_items import Scene, WorkItem
from refusion.fuse import load_module
from refusion.images.builtin import ensure_builtin
from refusion.metrics import METRICS
from refusion.shipped import (
    CARD_FILE,
    FUSION_FILE,
    GOLDEN_FILE,
    LOSS_PROPOSAL_FILE,
    PRETRAINED,
    SETTINGS_FILE,
    Card,
    Score,
    Scores,
)
from refusion.statistics import mean_interval
from refusion.tasks import find_task
from refusion.tracking.provenance import COMMIT_TAG, git_tags, installed_version

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 300_000
# Scores of a stored module may differ by so much, relative to them and in all; tables show three digits.
SAME = 5e-4
_CONVENTION = "authors"
_NO_METRICS = ("name", "method", "convention")


def main(arguments: Sequence[str], description: str) -> int:
    """Reads the options, writes the folder and prints its card; returns the exit status.

    Raises:
        UserError: the checkpoint or the scores are at fault, or the module is too large.
    """
    parser = Parser(description)
    parser.add_argument(
        "--checkpoint", required=True, type=Path, metavar="DIR", help="folder of a training's checkpoint"
    )
    parser.add_argument("--task", required=True, metavar="T", help="fusion task")
    parser.add_argument(
        "--scores", required=True, type=Path, metavar="FILE.csv", help="its scores, by jobs/evaluate.py"
    )
    parser.add_argument("--method", metavar="NAME", help="name of the checkpoint in a file of several methods")
    parser.add_argument("--scored", required=True, metavar="TEXT", help="name of the pairs that were scored")
    parser.add_argument("--data", required=True, metavar="TEXT", help="pairs that it was trained on")
    parser.add_argument("--terms", required=True, metavar="TEXT", help="terms of use of those")
    parser.add_argument("--command", required=True, metavar="TEXT", help="command that trained it")
    parser.add_argument("--wall-time", required=True, metavar="H:MM:SS", help="time that the training took")
    parser.add_argument("--machine", default=machine(), metavar="TEXT", help="machine that trained it [%(default)s]")
    parser.add_argument("--commit", metavar="HASH", help="of the code that trained it [this checkout's]")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "platform" / "refusion" / PRETRAINED, metavar="DIR", help="[%(default)s]"
    )
    options = parser.parse_args(list(arguments))
    task = find_task(options.task).name
    settings = _settings(options.checkpoint, task)
    scores = _scores(options.scores, options.method, options.scored)
    with tempfile.TemporaryDirectory() as place:
        scenes = ensure_builtin(Path(place) / "builtin")
        stored_as, golden = store(options.checkpoint, Path(place) / task, settings, task, scenes)
        folder = Path(place) / task
        (folder / GOLDEN_FILE).write_text(yaml.safe_dump(golden, sort_keys=False), encoding="utf-8")
        files = sorted(path.name for path in folder.iterdir())
        card = Card(
            task=task,
            data=options.data,
            terms=options.terms,
            command=options.command,
            seed=settings["seed"],
            machine=options.machine,
            wall_time=options.wall_time,
            version=installed_version("refusion"),
            commit=options.commit or git_tags(ROOT).get(COMMIT_TAG, "unknown"),
            stored_as=stored_as,
            parameters={Path(name).stem: _count(folder / name) for name in files if name.endswith(".safetensors")},
            scores=scores,
            files={name: sha256(folder / name) for name in files},
        )
        text = yaml.safe_dump(card.model_dump(), sort_keys=False, allow_unicode=True, width=110)
        (folder / CARD_FILE).write_text(text, encoding="utf-8")
        target = options.out / task
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        for path in folder.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    print(text)
    print(f"in {target}")
    return 0


def store(
    checkpoint: Path, folder: Path, settings: dict[str, Any], task: str, scenes: Path
) -> tuple[str, dict[str, dict[str, float]]]:
    """Writes weights and settings, in the most exact form that is small enough and leaves the scores as they are.

    Args:
        checkpoint: folder of the trained modules.
        folder: is made.
        settings: of the training, to be written.
        task: name of the fusion task.
        scenes: folder of the built-in ones.

    Returns:
        Type of the stored numbers, and the scores of the built-in val scenes, by scene and metric.

    Raises:
        UserError: the module is too large, or another one once it is rounded.
    """
    folder.mkdir(parents=True)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
    exact = golden_scores(checkpoint, task, scenes)
    reason = f"has more than {MOST_BYTES} bytes"
    together = [FUSION_FILE, LOSS_PROPOSAL_FILE]
    for names, kind in itertools.product((together, together[:1]), (torch.float32, torch.float16)):
        if not all((checkpoint / name).is_file() for name in names):
            continue
        for name in together:
            (folder / name).unlink(missing_ok=True)
        for name in names:
            weights = safetensors.torch.load_file(str(checkpoint / name))
            rounded = {key: value.to(kind).contiguous() for key, value in weights.items()}
            safetensors.torch.save_file(rounded, str(folder / name))
        if sum((folder / name).stat().st_size for name in names) > MOST_BYTES:
            continue
        found = golden_scores(folder, task, scenes)
        if changed := _difference(exact, found):
            reason = f"has other scores as {kind} ({changed})"
            continue
        return str(kind).removeprefix("torch."), found
    raise UserError(f"--checkpoint {checkpoint}: {reason}; train a smaller network, such as --network.width 16")


def golden_scores(module: Path, task: str, scenes: Path) -> dict[str, dict[str, float]]:
    """Scores of a stored module on the built-in val scenes, by scene and metric."""
    method = Method(PRETRAINED, "checkpoint", PRETRAINED)
    scorer = Scorer(tuple(METRICS), _CONVENTION, {PRETRAINED: load_module(module)})
    pairs = pairs_of_split(str(scenes), task, "val")
    return {pair.name: scorer.score(WorkItem(method, Scene(pair))).scores for pair in pairs}


def machine() -> str:
    """Describes this machine: processor, number of CPUs that may be used, memory and, where there is one, the GPU."""
    cpus = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*: (.+)$", cpus.read_text(), re.MULTILINE) if cpus.is_file() else []
    parts = [
        models[0] if models else platform.processor() or platform.machine(),
        f"{len(os.sched_getaffinity(0))} CPUs",
    ]
    parts.append(f"{psutil.virtual_memory().total / 2**30:.0f} GiB")
    return ", ".join([*parts, *([torch.cuda.get_device_name()] if torch.cuda.is_available() else [])])


def _difference(exact: dict[str, dict[str, float]], found: dict[str, dict[str, float]]) -> str:
    """Says which score of the rounded module differs most; empty where all are the same."""
    gaps = {
        (abs(found[scene][name] - value) / max(abs(value), 1.0), scene, name)
        for scene, scores in exact.items()
        for name, value in scores.items()
    }
    gap, scene, name = max(gaps)
    return "" if gap <= SAME else f"{name} of {scene}: {exact[scene][name]:.5f} and {found[scene][name]:.5f}"


def _settings(checkpoint: Path, task: str) -> dict[str, Any]:
    """Returns the settings that decide what was computed, without places of the machine that it was done on."""
    path = checkpoint / SETTINGS_FILE
    if not path.is_file():
        raise UserError(f"--checkpoint {checkpoint}: there is no {SETTINGS_FILE}; give a folder such as RUN/IVIF/best")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content.get("task") != task:
        raise UserError(f"--task {task}: {checkpoint} was trained for {content.get('task')}")
    sections = {name.partition(".")[0] for name, _ in leaves(Settings) if "." in name}
    return {key: value for key, value in content.items() if key in sections | {"task", "seed", "precision"}}


def _scores(file: Path, method: str | None, data: str) -> Scores:
    try:
        table = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise UserError(f"--scores {file}: cannot be read ({error})") from error
    if "method" in table.columns:
        if method not in set(table["method"]):
            known = ", ".join(sorted(set(table["method"])))
            raise UserError(f"--scores {file}: has several methods; choose one by --method: {known}")
        table = table[table["method"] == method]
    names = [name for name in table.columns if name not in _NO_METRICS]
    if not names or "convention" not in table.columns or table.empty:
        raise UserError(f"--scores {file}: is no file of jobs/evaluate.py")
    metrics = {}
    for name in names:
        interval = mean_interval(table[name].to_numpy(float), seed=0)
        metrics[name] = Score(**{key: round(getattr(interval, key), 6) for key in ("mean", "low", "high")})
    return Scores(data=data, pairs=len(table), convention=str(table["convention"].iloc[0]), metrics=metrics)


def _count(file: Path) -> int:
    return sum(value.numel() for value in safetensors.torch.load_file(str(file)).values())


if __name__ == "__main__":
    run_command(main, __doc__)
