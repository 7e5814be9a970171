"""An evaluation from its request to its results: check everything first, score, write, tell, record."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console

from refusion.baselines import find_baseline
from refusion.errors import UserError
from refusion.evaluation.csv_file import check_writable, csv_text, score_table, write_whole
from refusion.evaluation.methods import Method, find_methods
from refusion.evaluation.parallel import score_all
from refusion.evaluation.pictures import (
    Need,
    check_fit,
    match_fused,
    match_references,
    pairs_of_folders,
    pairs_of_split,
)
from refusion.evaluation.recording import record
from refusion.evaluation.report import Form, report_text
from refusion.evaluation.request import Request
from refusion.evaluation.results import MethodScores
from refusion.evaluation.scoring import Scored, Scorer, full_reference
from refusion.evaluation.work_items import Picture, Piece
from refusion.images.pairs import Pair
from refusion.metrics.facts import Definition
from refusion.metrics.lookup import find_definitions
from refusion.runtime.interruption import terminated_is_interrupted
from refusion.runtime.progress_bar import progress_bar
from refusion.tasks import find_task
from refusion.tracking.loading import load_module
from refusion.tracking.store import open_store, resolve_tracking_uri, ui_command

# Of a table that no terminal shows.
_LOG_WIDTH = 120
_ENDINGS: Mapping[Form, str] = {"text": "txt", "markdown": "md", "latex": "tex"}


def run_evaluation(request: Request) -> int:
    """Score all methods on all pictures.

    Returns:
        Exit status: 0, or 1 if the scores are written but MLflow could not be.

    Raises:
        UserError: the request or a picture is at fault; no CSV has been written then.
    """
    console = Console(stderr=True)
    task = find_task(request.task).name
    definitions = find_definitions(request.metrics, request.convention)
    methods = _methods(request)
    out = check_writable(request.out)
    store = _store(request)
    with terminated_is_interrupted():
        modules = {
            method.name: load_module(method.value, tracking_uri=request.tracking_uri, trust_code=request.trust_code)
            for method in methods
            if method.kind == "checkpoint"
        }
        pairs = _pairs(request, task, console)
        pictures, side = _pictures(request, methods, pairs, definitions, console)
        too_large = [name for name, definition in definitions.items() if definition.smallest_side > side]
        definitions = {name: definition for name, definition in definitions.items() if name not in too_large}
        folders = _folders(request, methods, pictures)
        scorer = Scorer(tuple(definitions), request.convention, modules, folders)
        pieces = [Piece(method, picture) for method in methods for picture in pictures]
        with progress_bar("scoring", console) as tell:
            scored = score_all(scorer, pieces, workers=request.workers, gpu=request.gpu, tell=tell)
        results = _results(pieces, scored, request.convention)
        csv = csv_text(score_table(results))
        write_whole(out, csv)
        table = report_text(results, request.format, task=task, seed=request.seed, width=_LOG_WIDTH)
        shown = table
        if request.format == "text" and sys.stdout.isatty():
            shown = report_text(results, "text", task=task, seed=request.seed, styled=True)
        _tell(request, results, pieces, scored, out, shown)
        for name in too_large:
            least = find_definitions([name], request.convention)[name].smallest_side
            print(f"{_mark(request)}{name} is left out: it needs {least} pixels of a side, and a picture has {side}")
        if store is None:
            return 0
        files = {"scores.csv": csv, f"table.{_ENDINGS[request.format]}": table}
        troubles = record(request, store, task, methods, results, pairs, files)
    for trouble in troubles:
        print(f"warning: not all could be written to MLflow ({trouble})", file=sys.stderr)
    print(f"{_mark(request)}open the MLflow UI: {ui_command(store[0])}")
    return 1 if troubles else 0


def _methods(request: Request) -> list[Method]:
    methods = find_methods(request.methods)
    for method in methods:
        if method.kind == "baseline":
            find_baseline(method.value)
    if request.save is not None and all(method.kind == "fused" for method in methods):
        raise UserError("--save: there is nothing to save, all pictures are given by --fused")
    return methods


def _store(request: Request) -> tuple[str, str] | None:
    """Address and experiment in MLflow, where the evaluation is to be recorded."""
    if request.experiment is None:
        return None
    uri = resolve_tracking_uri(request.tracking_uri)
    return uri, open_store(uri, request.experiment)


def _pairs(request: Request, task: str, console: Console) -> list[Pair]:
    with progress_bar("checking sources", console) as tell:
        if request.data is not None:
            return pairs_of_split(request.data, task, request.split, tell)
        if request.a is None or request.b is None:
            raise UserError("say where the sources are: either --a DIR and --b DIR, or --data DIR")
        return pairs_of_folders(request.a, request.b, tell)


def _pictures(
    request: Request,
    methods: Sequence[Method],
    pairs: Sequence[Pair],
    definitions: Mapping[str, Definition],
    console: Console,
) -> tuple[list[Picture], int]:
    """What is scored, and its smallest side."""
    names = [pair.name for pair in pairs]
    fused = {method.name: match_fused(Path(method.value), names) for method in methods if method.kind == "fused"}
    references: dict[str, str] = {}
    if request.reference is not None:
        if not full_reference(definitions):
            raise UserError("--reference: none of the metrics has a meaning against a true image; ask for PSNR or SSIM")
        references = match_references(request.reference, names)
    pictures = [
        Picture(pair, {name: files[pair.name] for name, files in fused.items()}, references.get(pair.name))
        for pair in pairs
    ]
    neediest = max(definitions, key=lambda name: definitions[name].smallest_side)
    need = None if request.all_metrics else Need(neediest, definitions[neediest].smallest_side)
    with progress_bar("checking pictures", console) as tell:
        return pictures, check_fit(pictures, need, crop=request.align == "crop", tell=tell)


def _folders(request: Request, methods: Sequence[Method], pictures: Sequence[Picture]) -> dict[str, str]:
    """Where each method's fused pictures go, made; of several methods each has its own folder."""
    if request.save is None:
        return {}
    root = request.save.expanduser().absolute()
    inputs = {Path(file).resolve() for picture in pictures for file in picture.files()}
    folders: dict[str, str] = {}
    for method in methods:
        if method.kind == "fused":
            continue
        folder = root / method.folder_name if len(methods) > 1 else root
        if any((folder / f"{picture.pair.name}.png").resolve() in inputs for picture in pictures):
            raise UserError(f"--save {request.save}: would overwrite pictures that are read; choose another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--save {request.save}: the folder cannot be made ({error.strerror})") from error
        folders[method.name] = str(folder)
    return folders


def _results(pieces: Sequence[Piece], scored: Sequence[Scored], convention: str) -> list[MethodScores]:
    """Per method, in the methods' order; rows in the order of names."""
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for piece, result in zip(pieces, scored, strict=True):
        rows.setdefault(piece.method.name, {})[piece.picture.pair.name] = result.scores
    return [
        MethodScores(name, convention, pd.DataFrame.from_dict(of, orient="index", dtype="float64").sort_index())
        for name, of in rows.items()
    ]


def _tell(
    request: Request,
    results: Sequence[MethodScores],
    pieces: Sequence[Piece],
    scored: Sequence[Scored],
    out: Path,
    table: str,
) -> None:
    mark = _mark(request)
    count = len(results[0].frame)
    print(table.rstrip("\n"))
    if request.format == "markdown":
        print()
    for method in results:
        cropped = sum(
            result.cropped for piece, result in zip(pieces, scored, strict=True) if piece.method.name == method.name
        )
        if cropped:
            print(f"{mark}{method.name}: {cropped} of {count} pictures cropped, or their sources, to what both show")
    print(f"{mark}scores of {count} picture{'' if count == 1 else 's'} in {out}")
    if request.save is not None:
        print(f"{mark}fused pictures in {request.save.expanduser().absolute()}")


def _mark(request: Request) -> str:
    """What is printed can go into a paper as it is: there, our own lines are comments."""
    return "% " if request.format == "latex" else ""
