"""Recording of one task in MLflow while it trains; an unreachable store never stops the training."""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag
from PIL import Image

from refusion.tracking.epochs import WITHIN_EPOCH, step_of
from refusion.tracking.registry import MODEL_FILES, Version, register_version
from refusion.tracking.retry_queue import RetryQueue
from refusion.tracking.runs import METRICS_PER_BATCH, Status, find_task_run, start_task_run
from refusion.tracking.settings import TAG_LIMIT, safe_name, truncate
from refusion.tracking.views.pictures import is_sheet, log_readable

__all__ = ["TaskRecorder", "find_task_run", "start_task_run"]

log = logging.getLogger(__name__)
DIGEST_LIMIT = 36
# Seconds between the last attempts after the training, and after which no further one begins.
FINISH_PAUSES = (1.0, 4.0)
FINISH_TIMEOUT = 60.0


@contextmanager
def closed_on_failure(uri: str, run_id: str) -> Iterator[None]:
    """Closes a run as killed where Ctrl-C or a signal leaves the block, and as failed where another exception does."""
    try:
        yield
    except BaseException as error:
        TaskRecorder(uri, run_id).finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise


class TaskRecorder:
    """Writer to the run of one task (see ``start_task_run``), from one process.

    No method raises because of MLflow. A failed write waits and is tried again with each later call, metrics
    and tags in their order, pictures and models apart from them; ``unsent`` counts the writes missing in MLflow.

    Args:
        uri: the result of ``resolve_tracking_uri``.
        run_id: the task's run.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self.uri = uri
        self.run_id = run_id
        self._records = RetryQueue(in_order=True)
        self._files = RetryQueue(in_order=False)
        self._last_epoch: tuple[int, int] | None = None

    @cached_property
    def _client(self) -> MlflowClient:
        # Not in __init__: the recorder may be pickled for its process, and opening a store may fail.
        return MlflowClient(tracking_uri=self.uri)

    @property
    def unsent(self) -> int:
        """Number of writes that still wait plus those that are lost."""
        return self._records.unsent + self._files.unsent

    @cached_property
    def _tags(self) -> dict[str, str]:
        # Asked when something is written, since the store may be away before.
        return dict(self._client.get_run(self.run_id).data.tags)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics of one epoch, from 1 on (0: before the first step); a value may be NaN."""
        stamp = _now()
        self._last_epoch = (epoch, stamp)
        self._send(f"metrics of epoch {epoch}", metrics, lambda: step_of(epoch, self._tags), stamp)
        # Waiting pictures would otherwise wait until there are new ones.
        if not self._records.waiting:
            self._files.flush()

    def within_epoch(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics within an epoch, named ``within/…``, at the number of steps that are done."""
        named = {f"{WITHIN_EPOCH}{name}": value for name, value in metrics.items()}
        self._send(f"metrics after {steps} steps", named, lambda: steps, _now())

    def _send(self, what: str, metrics: Mapping[str, float], step: Callable[[], int], stamp: int) -> None:
        values = [(safe_name(name), float(value)) for name, value in metrics.items()]
        for start in range(0, len(values), METRICS_PER_BATCH):
            self._records.send(what, partial(self._metrics, values[start:][:METRICS_PER_BATCH], stamp, step))

    def _metrics(self, values: list[tuple[str, float]], stamp: int, step: Callable[[], int]) -> None:
        points = [Metric(name, value, stamp, step()) for name, value in values]
        self._client.log_batch(self.run_id, metrics=points)

    def pictures(self, epoch: int, paths: Mapping[str, Path | str]) -> None:
        """Writes image files as step-stamped images, which the UI shows under a slider per key.

        Args:
            epoch: from 1 on.
            paths: from the key, such as ``fused/NAME`` or ``weights/NAME``, to a file that Pillow reads. Grey stays
                grey, all else becomes RGB; 16 bits become 8.
        """
        for key, path in paths.items():
            what = f"picture {key} of epoch {epoch}"
            try:
                data = Path(path).read_bytes()
            except OSError as error:
                self._files.record_loss(what, error)
                continue
            self._files.send(what, partial(self._picture, epoch, safe_name(key), data, _now()), size=len(data))

    def _picture(self, epoch: int, key: str, data: bytes, stamp: int) -> None:
        step = step_of(epoch, self._tags)
        if is_sheet(key):
            log_readable(self._client, self.run_id, _pixels(data), key, step, stamp)
            return
        self._client.log_image(self.run_id, _pixels(data), key=key, step=step, timestamp=stamp, synchronous=True)

    def dataset(self, name: str, pairs_digest: str, source: str, count: int, split: str) -> None:
        """Writes the data set of a training or validation, shown as ``NAME/SPLIT``.

        Args:
            name: of the data set.
            pairs_digest: of the pairs; MLflow's own digest is its first 36 characters.
            source: folder or address of the pairs, or ``builtin``.
            count: number of pairs.
            split: MLflow's context, such as ``training`` or ``validation``.
        """
        kind, where = ("code", {"tags": {"source": source}}) if source == "builtin" else ("local", {"uri": source})
        entry = Dataset(
            # MLflow keeps one entry per name and digest and run: without the split the second would vanish.
            name=f"{name}/{split}",
            digest=pairs_digest[:DIGEST_LIMIT],
            source_type=kind,
            source=json.dumps(where),
            profile=json.dumps({"num_rows": count}),
        )
        tags = [InputTag("mlflow.data.context", split), InputTag("pairs_digest", pairs_digest)]
        self._records.send(
            f"dataset {name}", lambda: self._client.log_inputs(self.run_id, datasets=[DatasetInput(entry, tags)])
        )

    def model(self, checkpoint_dir: Path, version: Version) -> str | None:
        """Logs and registers a checkpoint's fusion module as ``refusion-TASK``; see ``registry`` for the alias.

        The files are copied first, so that a retry does not need the checkpoint to be kept.

        Returns:
            The version's number, None if the store is away.
        """
        what, epoch = f"model of epoch {version.epoch}", version.epoch
        stamp = self._last_epoch[1] if self._last_epoch and self._last_epoch[0] == epoch else _now()
        copy = tempfile.TemporaryDirectory(prefix="refusion-checkpoint-")
        try:
            for name in MODEL_FILES:
                shutil.copy2(Path(checkpoint_dir) / name, copy.name)
        except OSError as error:
            copy.cleanup()
            self._files.record_loss(what, error)
            return None

        def attempt() -> str:
            number = register_version(self._client, Path(copy.name), version, stamp)
            copy.cleanup()
            return number

        return self._files.send(what, attempt)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Writes a file, or a folder's content, below ``folder`` of the run's artifacts."""
        path = Path(path)

        def attempt() -> None:
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder)
            else:
                self._client.log_artifact(self.run_id, str(path.resolve(strict=True)), folder)

        self._files.send(f"artifact {path.name}", attempt)

    def text(self, text: str, file: str) -> None:
        """Writes a text as the artifact ``file``, replacing an older one."""
        self._records.send(f"artifact {file}", lambda: self._client.log_text(self.run_id, text, file))

    def image(self, pixels: np.ndarray, file: str) -> None:
        """Writes a picture, uint8, (H,W) or (H,W,3), as the artifact ``file``, replacing an older one."""
        send = partial(self._client.log_image, self.run_id, pixels, artifact_file=file)
        self._files.send(f"picture {file}", send, size=pixels.nbytes)

    def finish(self, status: Status = "FINISHED", tags: Mapping[str, Any] | None = None) -> None:
        """Writes tags, closes the run, and tries for some seconds to write what still waits."""
        texts = [RunTag(name, truncate(str(value), TAG_LIMIT)) for name, value in (tags or {}).items()]
        if texts:
            self._records.send("tags", lambda: self._client.log_batch(self.run_id, tags=texts))
        end = _now()
        self._records.send(f"status {status}", lambda: self._client.set_terminated(self.run_id, status, end))
        began = time.monotonic()
        done = self._flush()
        for pause in FINISH_PAUSES:
            if done or time.monotonic() - began > FINISH_TIMEOUT:
                break
            time.sleep(pause)
            done = self._flush()
        if self.unsent:
            log.warning("%d writes to MLflow's run %s are missing there", self.unsent, self.run_id)

    def _flush(self) -> bool:
        return all([self._records.flush(at_once=True), self._files.flush(at_once=True)])


def _now() -> int:
    """Returns milliseconds since 1970, MLflow's time stamp."""
    return time.time_ns() // 1_000_000


def _pixels(data: bytes) -> np.ndarray:
    """Returns an image file's pixels as uint8, (H,W) or (H,W,3): MLflow would stretch floats and refuse 16 bits."""
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16") or image.mode == "I":
            return (np.asarray(image, dtype=np.uint32) // 257).astype(np.uint8)
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
