"""Operations of entries: each writes what its entry holds to MLflow, and may be done again without writing it twice."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.multimedia import compress_image_size
from PIL import Image, UnidentifiedImageError

from refusion.tracking.epochs import step_of
from refusion.tracking.models.version import Version
from refusion.tracking.registry import is_registered, register_version
from refusion.tracking.store import open_store
from refusion.tracking.views.pictures import is_sheet, log_readable
from refusion.tracking.views.write import put_views
from refusion.tracking.waiting.opening import begin_run
from refusion.tracking.waiting.spool import CONTENT, Entry, Spool

_IMAGES = "images"
_LOGGED_IMAGES_TAG = "mlflow.loggedImages"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class RunNotBegunError(Exception):
    """Raised where a write comes before the run that it belongs to."""


@dataclass
class Store:
    """MLflow's store, and what is known of its runs while entries are written.

    Attributes:
        uri: of the store.
        spool: knows the ids of runs.
        client: to write with; made at the first use, since opening a store may fail.
    """

    uri: str
    spool: Spool
    client: MlflowClient | None = None
    _tags: dict[str, dict[str, str]] = field(default_factory=dict)
    _experiments: dict[str, str] = field(default_factory=dict)
    # By run and metric, steps and stamps of the points that are there.
    _points: dict[str, dict[str, set[tuple[int, int]]]] = field(default_factory=dict)

    def connected(self) -> MlflowClient:
        """Returns the client."""
        if self.client is None:
            self.client = MlflowClient(tracking_uri=self.uri)
        return self.client

    def forget(self) -> None:
        """Asks anew, as after a failed attempt, of which MLflow may have taken anything."""
        self._tags.clear()
        self._points.clear()

    def run_id(self, run: str) -> str:
        """Returns the id of a run by its key; one that was given by its id has no key.

        Raises:
            RunNotBegunError: it is not begun yet.
            LookupError: it will never be, since MLflow has refused it.
        """
        found = self.spool.ids.get(run)
        if found is not None or _RUN_ID.fullmatch(run):
            return found or run
        if any(entry.run == run and entry.kind == "begin" for entry in self.spool.entries("records")):
            raise RunNotBegunError(f"the run {run} is not begun yet")
        raise LookupError(f"its run {run} could not be begun")

    def tags(self, run_id: str) -> dict[str, str]:
        """Returns a run's tags as they were when it was first asked for."""
        if run_id not in self._tags:
            self._tags[run_id] = dict(self.connected().get_run(run_id).data.tags)
        return self._tags[run_id]

    def experiment_id(self, name: str) -> str:
        """Returns the id of an experiment, which is created where it is missing."""
        if name not in self._experiments:
            self._experiments[name] = open_store(self.uri, name)
        return self._experiments[name]

    def points(self, run_id: str, metric: str) -> set[tuple[int, int]]:
        """Returns step and stamp of each point of a metric."""
        of_run = self._points.setdefault(run_id, {})
        if metric not in of_run:
            history = self.connected().get_metric_history(run_id, metric)
            of_run[metric] = {(point.step, point.timestamp) for point in history}
        return of_run[metric]

    def add_points(self, run_id: str, points: Sequence[Metric]) -> None:
        """Takes note of points that were written to metrics that were asked for."""
        of_run = self._points.get(run_id, {})
        for point in points:
            if point.key in of_run:
                of_run[point.key].add((point.step, point.timestamp))


def perform(store: Store, entry: Entry, *, attempted: bool) -> object:
    """Writes an entry; raises what MLflow and its artifact stores raise.

    Args:
        store: to write to.
        entry: what to write.
        attempted: MLflow may have it already, in part or whole.

    Returns:
        The number of a version, for a model; else nothing of interest.
    """
    return _OPERATIONS[entry.kind](store, entry, attempted or bool(entry.data.get("check")))


def _begin(store: Store, entry: Entry, _doubtful: bool) -> str:
    data = entry.data
    parent = store.run_id(data["parent"]) if data["parent"] else None
    known = store.spool.ids.get(entry.run)
    experiment_id = store.experiment_id(data["experiment"])
    run_id = begin_run(store.connected(), store.uri, experiment_id, entry.token, known, parent, data)
    store.spool.add_id(entry.run, run_id)
    return run_id


def _metrics(store: Store, entry: Entry, doubtful: bool) -> None:
    run_id, data = store.run_id(entry.run), entry.data
    step = data["steps"] if "steps" in data else step_of(data["epoch"], store.tags(run_id))
    values = [(name, value) for name, value in data["values"] if not (doubtful and _is_there(store, entry, name, step))]
    points = [Metric(name, value, data["stamp"], step) for name, value in values]
    if points:
        store.connected().log_batch(run_id, metrics=points)
    store.add_points(run_id, points)


def _is_there(store: Store, entry: Entry, name: str, step: int) -> bool:
    found = store.points(store.run_id(entry.run), name)
    # A sweep may train an epoch of a trial again, with other values; of a run each is recorded once.
    return any(at == step and (entry.data["once"] or stamp == entry.data["stamp"]) for at, stamp in found)


def _picture(store: Store, entry: Entry, doubtful: bool) -> None:
    run_id, data, client = store.run_id(entry.run), entry.data, store.connected()
    step = step_of(data["epoch"], store.tags(run_id))
    pixels = _pixels((entry.folder / CONTENT).read_bytes())
    if doubtful and _completed(store, run_id, entry, step, pixels):
        return
    if is_sheet(data["key"]):
        log_readable(client, run_id, pixels, data["key"], step, data["stamp"])
        return
    client.log_image(run_id, pixels, key=data["key"], step=step, timestamp=data["stamp"], synchronous=True)


def _completed(store: Store, run_id: str, entry: Entry, step: int, pixels: np.ndarray) -> bool:
    """Completes a picture that is there in part; False where there is none, of this stamp or, of a run, of any."""
    stamp = r"\d+" if entry.data["once"] else str(entry.data["stamp"])
    key = re.escape(entry.data["key"].replace("/", "~"))
    name = re.compile(rf"(.*/{key}\+step\+{step}\+timestamp\+{stamp}\+[^+]+?)(\+compressed\.webp|\.png)")
    client = store.connected()
    listed = [match for file in client.list_artifacts(run_id, _IMAGES) if (match := name.fullmatch(file.path))]
    if not listed:
        return False
    # A picture is two files, itself and a copy for MLflow's pages, then a tag.
    begun = Counter(match[1] for match in listed).most_common(1)[0][0]
    missing = {".png", "+compressed.webp"} - {match[2] for match in listed if match[1] == begun}
    for ending in missing:
        file = entry.folder / f"{begun.rpartition('/')[2]}{ending}"
        with Image.fromarray(pixels) as image:
            (image if ending == ".png" or is_sheet(entry.data["key"]) else compress_image_size(image)).save(file)
        client.log_artifact(run_id, str(file), _IMAGES)
    client.set_tag(run_id, _LOGGED_IMAGES_TAG, True)
    return True


def _pixels(data: bytes) -> np.ndarray:
    """Returns an image file's pixels as uint8, (H,W) or (H,W,3): MLflow would stretch floats and refuse 16 bits."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16") or image.mode == "I":
            return (np.asarray(image, dtype=np.uint32) // 257).astype(np.uint8)
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _dataset(store: Store, entry: Entry, _doubtful: bool) -> None:
    data = entry.data
    dataset = Dataset(
        # MLflow keeps one entry per name and digest and run: without the split the second would vanish.
        name=data["name"],
        digest=data["digest"],
        source_type=data["source_type"],
        source=json.dumps(data["source"]),
        profile=json.dumps(data["profile"]),
    )
    tags = [InputTag(name, value) for name, value in data["tags"].items()]
    store.connected().log_inputs(store.run_id(entry.run), datasets=[DatasetInput(dataset, tags)])


def _model(store: Store, entry: Entry, doubtful: bool) -> str | None:
    client = store.connected()
    version = replace(Version(**entry.data["version"]), run_id=store.run_id(entry.run))
    # What a resumed job makes up for may be there since its first part.
    if entry.data.get("check") and is_registered(client, version):
        return None
    stamp = _stamp_of_scores(store, version) if doubtful else None
    return register_version(client, entry.folder, version, stamp or entry.data["stamp"], entry.token, again=doubtful)


def _stamp_of_scores(store: Store, version: Version) -> int | None:
    """Returns when the run's own scores of the version's epoch were recorded; None where MLflow has none of it."""
    step = step_of(version.epoch, store.tags(version.run_id))
    stamps = [stamp for at, stamp in store.points(version.run_id, version.score_name) if at == step]
    return min(stamps, default=None)


def _artifact(store: Store, entry: Entry, _doubtful: bool) -> None:
    client, run_id, folder = store.connected(), store.run_id(entry.run), entry.data["folder"]
    content = entry.folder / CONTENT
    if entry.data["is_folder"]:
        client.log_artifacts(run_id, str(content), folder)
        return
    client.log_artifact(run_id, str(next(content.iterdir())), folder)


def _text(store: Store, entry: Entry, _doubtful: bool) -> None:
    store.connected().log_text(store.run_id(entry.run), entry.data["text"], entry.data["file"])


def _tags(store: Store, entry: Entry, _doubtful: bool) -> None:
    tags = [RunTag(name, value) for name, value in entry.data["tags"].items()]
    store.connected().log_batch(store.run_id(entry.run), tags=tags)


def _end(store: Store, entry: Entry, _doubtful: bool) -> None:
    client, run_id = store.connected(), store.run_id(entry.run)
    if entry.data.get("if_running") and client.get_run(run_id).info.status != "RUNNING":
        return
    client.set_terminated(run_id, entry.data["status"], entry.data["end"])


def _views(store: Store, entry: Entry, _doubtful: bool) -> None:
    experiment_id = store.experiment_id(entry.data["experiment"])
    runs = [store.run_id(run) for run in entry.data["pictures_of"]]
    put_views(store.uri, experiment_id, pictures_of=runs, tags=entry.data["tags"])


_OPERATIONS: Mapping[str, Callable[[Store, Entry, bool], Any]] = {
    "begin": _begin,
    "metrics": _metrics,
    "picture": _picture,
    "dataset": _dataset,
    "model": _model,
    "artifact": _artifact,
    "text": _text,
    "tags": _tags,
    "end": _end,
    "views": _views,
}

# Such a write fails at every attempt and would only hold up the others.
_REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "MALFORMED_REQUEST")


def is_refused(error: Exception) -> bool:
    """Tells if a write that failed so would fail for ever."""
    if isinstance(error, MlflowException):
        return error.error_code in _REFUSED
    if isinstance(error, OSError):
        return isinstance(error, FileNotFoundError | UnidentifiedImageError)
    return isinstance(error, TypeError | ValueError | AttributeError | LookupError)
