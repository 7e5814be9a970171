"""Fusion modules as MLflow's logged models, with the files that load them again."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run
from mlflow.entities.logged_model import LoggedModel
from mlflow.models import Model

from refusion.tracking.models.signature import example, signature
from refusion.tracking.models.version import MODEL_FILES
from refusion.tracking.provenance import installed_version
from refusion.tracking.runs import TOKEN_TAG
from refusion.tracking.store import no_progress_bar, warnings_only

CHECKPOINT = "checkpoint"
_CODE = Path(__file__).parents[1] / "logged_model.py"
_CODE_MODULE = "code_model_"
_REQUIREMENTS = ("torch", "numpy", "safetensors", "pyyaml", "opencv-python-headless", "pillow")


def logged_model(
    client: MlflowClient, run: Run, name: str, checkpoint: Path, tags: Mapping[str, str], token: str = ""
) -> LoggedModel:
    """Logs a checkpoint's fusion module as a model of a run, ready to be registered.

    Args:
        client: of the store.
        run: whose model it is.
        name: of the model.
        checkpoint: folder with ``MODEL_FILES``.
        tags: of the model.
        token: of an attempt that may have been cut off, with which this one goes on; empty where there was none.
    """
    model = (_logged_before(client, run, token) if token else None) or client.create_logged_model(
        run.info.experiment_id, name, run.info.run_id, dict(tags), params=run.data.params, model_type="image fusion"
    )
    if model.status == LoggedModelStatus.READY:
        return model
    try:
        with no_progress_bar(), warnings_only("mlflow.pyfunc"), _code_forgotten():
            _write_artifacts(client, model, checkpoint)
    except Exception:
        # One with a token is gone on with.
        if TOKEN_TAG not in tags:
            client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.finalize_logged_model(model.model_id, "READY")
    return model


def _logged_before(client: MlflowClient, run: Run, token: str) -> LoggedModel | None:
    found = client.search_logged_models([run.info.experiment_id], f"tags.`{TOKEN_TAG}` = '{token}'", max_results=1)
    return found[0] if found else None


@contextmanager
def _code_forgotten() -> Iterator[None]:
    """Takes the modules away as which MLflow imports a model's code, under a new name each time."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in [name for name in list(sys.modules) if name.startswith(_CODE_MODULE) and name not in before]:
            sys.modules.pop(name, None)


def _write_artifacts(client: MlflowClient, model: LoggedModel, checkpoint: Path) -> None:
    requirements = [f"{name}=={installed_version(name).partition('+')[0]}" for name in _REQUIREMENTS]
    requirements.append(f"refusion-platform=={installed_version('refusion')}")
    with tempfile.TemporaryDirectory(prefix="refusion-model-") as folder:
        target = Path(folder) / "model"
        # MLflow stores an artifact under its folder's own name.
        stored = Path(folder) / CHECKPOINT
        stored.mkdir()
        for name in MODEL_FILES:
            shutil.copy2(checkpoint / name, stored)
        mlflow.pyfunc.save_model(
            target,
            python_model=_CODE,
            artifacts={CHECKPOINT: str(stored)},
            pip_requirements=requirements,
            signature=signature(),
            input_example=example(),
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                run_id=model.source_run_id,
                model_uuid=model.model_id,
                model_id=model.model_id,
            ),
        )
        client.log_model_artifacts(model.model_id, str(target))
