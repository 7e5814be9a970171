"""Recording of one task in MLflow while it trains; an unreachable store never stops the training."""

from __future__ import annotations

import io
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from refusion.tracking.epochs import WITHIN_EPOCH
from refusion.tracking.models.version import MODEL_FILES, Version
from refusion.tracking.settings import METRICS_PER_BATCH, TAG_LIMIT, TAGS_PER_BATCH, safe_name, truncate
from refusion.tracking.waiting.spool import CONTENT, Lane, Spool

if TYPE_CHECKING:
    from refusion.tracking.runs import Status
    from refusion.tracking.waiting.writer import Writer

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
    """Writer to the run of one task (see ``start_task_run``).

    No method raises because of MLflow. Without ``waiting`` each call writes at once; what fails waits for later calls,
    as long as this recorder lives. With ``waiting`` each only puts an entry there, on the disk, and
    ``waiting.background`` or ``waiting.writer`` write it; no call waits for MLflow then.

    Args:
        uri: the result of ``resolve_tracking_uri``; without use where there is ``waiting``.
        run_id: the task's run, or, with ``waiting``, its key there.
        waiting: folder of entries.
        once: an epoch is recorded once, so that a second record of it, as after a kill, is left out.
        check: MLflow may have parts of what comes, as where a resumed job could not ask.
    """

    def __init__(
        self, uri: str, run_id: str, waiting: Path | None = None, *, once: bool = False, check: bool = False
    ) -> None:
        self.uri = uri
        self.run_id = run_id
        self._waiting = waiting
        self._flags = {"once": once, "check": check}
        self._last_epoch: tuple[int, int] | None = None
        self._lost = 0

    # Neither in __init__: the recorder may be pickled for its process.
    @cached_property
    def _spool(self) -> Spool:
        if self._waiting is not None:
            return Spool(self._waiting)
        self._own = tempfile.TemporaryDirectory(prefix="refusion-waiting-", ignore_cleanup_errors=True)
        return Spool(Path(self._own.name), durable=False)

    @cached_property
    def writer(self) -> Writer | None:
        """Writes at once; None where others write what waits."""
        if self._waiting is not None:
            return None
        # Here, since processes that train have no use for MLflow, which takes a second to import.
        from refusion.tracking.waiting.writer import Writer

        return Writer(self.uri, self._spool)

    @property
    def unsent(self) -> int:
        """Number of writes that wait plus those that are lost."""
        return self._spool.waiting + self._lost + len(self._spool.left_out)

    def epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics of one epoch, from 1 on (0: before the first step); a value may be NaN."""
        stamp = _now()
        self._last_epoch = (epoch, stamp)
        self._metrics(f"metrics of epoch {epoch}", metrics, {"epoch": epoch, "stamp": stamp})

    def within_epoch(self, steps: int, metrics: Mapping[str, float]) -> None:
        """Writes metrics within an epoch, named ``within/…``, at the number of steps that are done."""
        named = {f"{WITHIN_EPOCH}{name}": value for name, value in metrics.items()}
        self._metrics(f"metrics after {steps} steps", named, {"steps": steps, "stamp": _now()})

    def summary(self, metrics: Mapping[str, float]) -> None:
        """Writes metrics of the whole run, at step 0; a later summary goes before an earlier one."""
        self._metrics("summary", metrics, {"steps": 0, "stamp": _now(), "once": False})

    def _metrics(self, what: str, metrics: Mapping[str, float], data: Mapping[str, Any]) -> None:
        values = [(safe_name(name), float(value)) for name, value in metrics.items()]
        for start in range(0, len(values), METRICS_PER_BATCH):
            self._send("records", what, "metrics", {"values": values[start:][:METRICS_PER_BATCH], **data})

    def pictures(self, epoch: int, paths: Mapping[str, Path | str], *, again: bool = False) -> None:
        """Writes image files as step-stamped images, which the UI shows under a slider per key.

        Args:
            epoch: from 1 on.
            paths: from the key, such as ``fused/NAME`` or ``weights/NAME``, to a file that Pillow reads. Grey stays
                grey, all else becomes RGB; 16 bits become 8.
            again: MLflow may have those of this epoch.
        """
        for key, path in paths.items():
            data = {"key": safe_name(key), "epoch": epoch, "stamp": _now(), **self._checked(again)}
            self._send("pictures", f"picture {key} of epoch {epoch}", "picture", data, {CONTENT: Path(path)})

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
        data = {
            "name": f"{name}/{split}",
            "digest": pairs_digest[:DIGEST_LIMIT],
            "source_type": kind,
            "source": where,
            "profile": {"num_rows": count},
            "tags": {"mlflow.data.context": split, "pairs_digest": pairs_digest},
        }
        self._send("records", f"dataset {name}", "dataset", data)

    def model(self, checkpoint_dir: Path, version: Version, *, again: bool = False) -> str | None:
        """Logs and registers a checkpoint's fusion module as ``refusion-TASK``; see ``registry`` for the alias.

        The files are copied first, so that the checkpoint need not be kept for that. ``again``: MLflow may have it.

        Returns:
            The version's number, None if it is written later.
        """
        epoch = version.epoch
        stamp = self._last_epoch[1] if self._last_epoch and self._last_epoch[0] == epoch else _now()
        data = {"version": asdict(version), "stamp": stamp, **self._checked(again)}
        files = {name: Path(checkpoint_dir) / name for name in MODEL_FILES}
        number = self._send("models", f"model of epoch {epoch}", "model", data, files)
        return None if number is None else str(number)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Writes a file, or a folder's content, below ``folder`` of the run's artifacts."""
        path = Path(path)
        is_folder = path.is_dir()
        files = {CONTENT: path} if is_folder else {f"{CONTENT}/{path.name}": path}
        self._send("pictures", f"artifact {path.name}", "artifact", {"folder": folder, "is_folder": is_folder}, files)

    def text(self, text: str, file: str) -> None:
        """Writes a text as the artifact ``file``, replacing an older one."""
        self._send("records", f"artifact {file}", "text", {"text": text, "file": file})

    def image(self, pixels: np.ndarray, file: str) -> None:
        """Writes a picture, uint8, (H,W) or (H,W,3), as the artifact ``file``, a PNG, replacing an older one."""
        folder, _, name = file.rpartition("/")
        with io.BytesIO() as packed, Image.fromarray(pixels) as image:
            image.save(packed, format="png")
            files = {f"{CONTENT}/{name}": packed.getvalue()}
        self._send("pictures", f"picture {file}", "artifact", {"folder": folder or None, "is_folder": False}, files)

    def begin(self, description: Mapping[str, Any]) -> None:
        """Begins the run, see ``waiting.opening.description``; it goes by its key from then on."""
        self._send("records", f"run {description['run_name']}", "begin", description)

    def views(self, experiment: str, tags: Mapping[str, str], pictures_of: Sequence[str] = ()) -> None:
        """Writes the views of an experiment by its name, as ``write_views``; ``pictures_of`` are keys of runs."""
        data = {"experiment": experiment, "tags": dict(tags), "pictures_of": list(pictures_of)}
        # After the pictures that they show.
        self._send("pictures", "the views", "views", data)

    def tags(self, tags: Mapping[str, Any]) -> None:
        """Writes tags, each at most 8000 characters of it."""
        texts = [(name, truncate(str(value), TAG_LIMIT)) for name, value in tags.items()]
        for start in range(0, len(texts), TAGS_PER_BATCH):
            self._send("records", "tags", "tags", {"tags": dict(texts[start:][:TAGS_PER_BATCH])})

    def finish(self, status: Status = "FINISHED", tags: Mapping[str, Any] | None = None) -> None:
        """Writes tags, closes the run, and, where it writes at once, tries for some seconds to write what waits."""
        self.tags(tags or {})
        self._send("records", f"status {status}", "end", {"status": status, "end": _now()})
        if self.writer is None:
            return
        began = time.monotonic()
        done = self.writer.flush(at_once=True)
        for pause in FINISH_PAUSES:
            if done or time.monotonic() - began > FINISH_TIMEOUT:
                break
            time.sleep(pause)
            done = self.writer.flush(at_once=True)
        if self.unsent:
            log.warning("%d writes to MLflow's run %s are missing there", self.unsent, self.run_id)
        if not self._spool.waiting:
            self._clear()

    def _clear(self) -> None:
        """Removes the folder of what waited; another write begins a new one."""
        self._lost += len(self._spool.left_out)
        self._own.cleanup()
        for name in ("_spool", "writer"):
            del self.__dict__[name]

    def _checked(self, again: bool) -> dict[str, bool]:
        return {"check": True} if again else {}

    def _send(
        self,
        lane: Lane,
        what: str,
        kind: str,
        data: Mapping[str, Any],
        files: Mapping[str, bytes | Path] | None = None,
    ) -> object:
        """Adds an entry, and writes it where nobody else does; returns the result then."""
        try:
            added = self._spool.add(lane, self.run_id, what, kind, {**self._flags, **data}, files)
        except OSError as error:
            # A full disk ends the training by its checkpoint, or not at all.
            self._lost += 1
            log.warning("%s cannot be kept for MLflow and is left out: %s", what, error)
            return None
        if self.writer is None:
            return None
        self.writer.flush()
        return self.writer.result(added)


def _now() -> int:
    """Returns milliseconds since 1970, MLflow's time stamp."""
    return time.time_ns() // 1_000_000
