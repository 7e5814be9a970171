"""An evaluation from its request to its results: check everything first, score, write, print, record."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from torch import nn

from refusion.adapt import Adaptation, load_learned_loss
from refusion.baselines import find_baseline
from refusion.errors import UserError
from refusion.evaluation.csv_file import check_writable, csv_text, score_table, write_atomically
from refusion.evaluation.methods import Method, find_methods, with_adapted
from refusion.evaluation.parallel import score_all
from refusion.evaluation.recording import record
from refusion.evaluation.report import report_text
from refusion.evaluation.request import Format, Request
from refusion.evaluation.results import MethodScores
from refusion.evaluation.scenes import (
    MinimumSize,
    check_sizes,
    match_fused,
    match_references,
    pairs_of_folders,
    pairs_of_split,
)
from refusion.evaluation.scoring import ItemScores, Scorer, full_reference
from refusion.evaluation.work_items import Scene, WorkItem
from refusion.images.destinations import check_destination
from refusion.images.pairs import Pair
from refusion.metrics.facts import Definition
from refusion.metrics.lookup import find_definitions
from refusion.ops.backend import configure
from refusion.runtime.lifetime.interruption import terminated_is_interrupted
from refusion.runtime.progress_bar import progress_bar
from refusion.tasks import find_task
from refusion.tracking.loading import find_checkpoint, load_module
from refusion.tracking.store import open_store, resolve_tracking_uri, ui_command

# Width of a table that goes to a file instead of a terminal.
_LOG_WIDTH = 120
_ENDINGS: Mapping[Format, str] = {"text": "txt", "markdown": "md", "latex": "tex"}


def run_evaluation(request: Request) -> int:
    """Scores all methods on all scenes, writes the CSV file and prints the report.

    Returns:
        Exit status: 0, or 1 if the scores are written but MLflow could not be.

    Raises:
        UserError: the request or an image is at fault; no CSV has been written then.
    """
    console = Console(stderr=True)
    task = find_task(request.task).name
    definitions = find_definitions(request.metrics, request.convention)
    methods = _methods(request)
    out = check_writable(request.out)
    store = _store(request)
    with terminated_is_interrupted():
        loaded = {
            method.name: _loaded(method, request, task, console) for method in methods if method.kind == "checkpoint"
        }
        pairs = _pairs(request, task, console)
        scenes, side = _scenes(request, methods, pairs, definitions, console)
        left_out = [name for name, definition in definitions.items() if definition.smallest_side > side]
        definitions = {name: definition for name, definition in definitions.items() if name not in left_out}
        folders = _folders(request, methods, scenes)
        modules = {name: _adapted(module, request, pairs, console) for name, module in loaded.items()}
        adaptations = {name: own for name, (_, own) in loaded.items() if own is not None and request.adapt_each}
        scorer = Scorer(tuple(definitions), request.convention, modules, folders, adaptations, request.precision)
        items = [WorkItem(method, scene) for method in methods for scene in scenes]
        with progress_bar("scoring", console) as on_progress:
            scored = score_all(scorer, items, workers=request.workers, gpu=request.gpu, on_progress=on_progress)
        results = _results(items, scored, request.convention)
        csv = csv_text(score_table(results))
        write_atomically(out, csv)
        table = report_text(results, request.format, task=task, seed=request.seed, width=_LOG_WIDTH)
        shown = table
        if request.format == "text" and sys.stdout.isatty():
            shown = report_text(results, "text", task=task, seed=request.seed, styled=True)
        _print_report(request, results, items, scored, out, shown)
        for name in left_out:
            least = find_definitions([name], request.convention)[name].smallest_side
            reason = f"it needs {least} pixels of a side, and a picture has {side}"
            print(f"{_comment_prefix(request)}{name} is left out: {reason}")
        if store is None:
            return 0
        files = {"scores.csv": csv, f"table.{_ENDINGS[request.format]}": table}
        failures = record(request, store, task, methods, results, pairs, files)
    for failure in failures:
        print(f"warning: not all could be written to MLflow ({failure})", file=sys.stderr)
    print(f"{_comment_prefix(request)}open the MLflow UI: {ui_command(store[0])}")
    return 1 if failures else 0


def _methods(request: Request) -> list[Method]:
    methods = find_methods(request.methods)
    if request.adapt is not None:
        methods = with_adapted(methods)
    for method in methods:
        if method.kind == "baseline":
            find_baseline(method.value)
    if request.save is not None and all(method.kind == "fused" for method in methods):
        raise UserError("--save: there is nothing to save, all pictures are given by --fused")
    return methods


def _loaded(method: Method, request: Request, task: str, console: Console) -> tuple[nn.Module, Adaptation | None]:
    """Returns a checkpoint's module and, where the method is its adapted twin, what it is to be adapted by."""
    found = find_checkpoint(method.value, task, request.tracking_uri)
    checkpoint = found.folder
    module = load_module(checkpoint, trust_code=request.trust_code)
    if not method.adapted:
        console.print(f"{method.name} is {found.about}", markup=False, soft_wrap=True, highlight=False)
    if request.adapt is None or not method.adapted:
        return module, None
    learned = load_learned_loss(checkpoint, task, trust_code=request.trust_code)
    return module, Adaptation(learned, task, request.adapt, request.adapt_rate)


def _adapted(
    loaded: tuple[nn.Module, Adaptation | None], request: Request, pairs: Sequence[Pair], console: Console
) -> nn.Module:
    """Returns the module, adapted to all pairs where that is asked for."""
    module, adaptation = loaded
    if adaptation is None or request.adapt_each:
        return module
    configure("cpu")
    with progress_bar("adapting", console) as on_step:
        return adaptation.to_pairs(module, pairs, on_step)


def _store(request: Request) -> tuple[str, str] | None:
    """Returns address and experiment in MLflow, or None where the evaluation is not to be recorded."""
    if request.experiment is None:
        return None
    uri = resolve_tracking_uri(request.tracking_uri)
    return uri, open_store(uri, request.experiment)


def _pairs(request: Request, task: str, console: Console) -> list[Pair]:
    lines: list[str] = []
    how: dict[str, Any] = {"reading": request.reading, "skip_bad": request.skip_bad_pairs, "tell": lines.append}
    with progress_bar("checking sources", console) as on_progress:
        if request.data is not None:
            pairs = pairs_of_split(request.data, task, request.split, on_progress, **how)
        elif request.a is None or request.b is None:
            raise UserError("say where the sources are: either --a DIR and --b DIR, or --data DIR")
        else:
            pairs = pairs_of_folders(request.a, request.b, task, on_progress, **how)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True, highlight=False)
    return pairs


def _scenes(
    request: Request,
    methods: Sequence[Method],
    pairs: Sequence[Pair],
    definitions: Mapping[str, Definition],
    console: Console,
) -> tuple[list[Scene], int]:
    """Returns the scenes to score, and their smallest side in pixels."""
    names = [pair.name for pair in pairs]
    fused = {method.name: match_fused(Path(method.value), names) for method in methods if method.kind == "fused"}
    references: dict[str, str] = {}
    if request.reference is not None:
        if not full_reference(definitions):
            raise UserError("--reference: none of the metrics has a meaning against a true image; ask for PSNR or SSIM")
        references = match_references(request.reference, names)
    scenes = [
        Scene(pair, {name: files[pair.name] for name, files in fused.items()}, references.get(pair.name))
        for pair in pairs
    ]
    largest = max(definitions, key=lambda name: definitions[name].smallest_side)
    minimum = None if request.all_metrics else MinimumSize(largest, definitions[largest].smallest_side)
    with progress_bar("checking pictures", console) as on_progress:
        return scenes, check_sizes(scenes, minimum, crop=request.align == "crop", on_progress=on_progress)


def _folders(request: Request, methods: Sequence[Method], scenes: Sequence[Scene]) -> dict[str, str]:
    """Creates the folders for each method's fused images; of several methods each has its own."""
    if request.save is None:
        return {}
    root = request.save.expanduser().absolute()
    files = [Path(file) for scene in scenes for file in scene.files()]
    inputs = {*files, *(file.parent for file in files)}
    folders: dict[str, str] = {}
    for method in methods:
        if method.kind == "fused":
            continue
        folder = root / method.folder_name if len(methods) > 1 else root
        check_destination("--save", folder, inputs, [folder / f"{scene.pair.name}.png" for scene in scenes])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--save {request.save}: the folder cannot be made ({error.strerror})") from error
        folders[method.name] = str(folder)
    return folders


def _results(items: Sequence[WorkItem], scores: Sequence[ItemScores], convention: str) -> list[MethodScores]:
    """Groups the scores by method, in the methods' order; rows in the order of names."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for item, one in zip(items, scores, strict=True):
        rows.setdefault(item.method.name, {})[item.scene.pair.name] = one.scores
    return [
        MethodScores(
            name, convention, pd.DataFrame.from_dict(scores_by_name, orient="index", dtype="float64").sort_index()
        )
        for name, scores_by_name in rows.items()
    ]


def _print_report(
    request: Request,
    results: Sequence[MethodScores],
    items: Sequence[WorkItem],
    scores: Sequence[ItemScores],
    out: Path,
    table: str,
) -> None:
    mark = _comment_prefix(request)
    count = len(results[0].frame)
    print(table.rstrip("\n"))
    if request.format == "markdown":
        print()
    for method in results:
        cropped = sum(one.cropped for item, one in zip(items, scores, strict=True) if item.method.name == method.name)
        if cropped:
            print(f"{mark}{method.name}: {cropped} of {count} pictures cropped, or their sources, to what both show")
    print(f"{mark}scores of {count} picture{'' if count == 1 else 's'} in {out}")
    if request.save is not None:
        print(f"{mark}fused pictures in {request.save.expanduser().absolute()}")


def _comment_prefix(request: Request) -> str:
    """Returns the prefix of our own lines: comments in LaTeX, so that the output goes into a paper as it is."""
    return "% " if request.format == "latex" else ""
