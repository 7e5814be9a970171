"""The logged model as anybody's programs use it: `mlflow models serve` over HTTP on this machine, and `predict`."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import safetensors.torch
import yaml
from mlflow import MlflowClient
from mlflow.models import Model

from refusion.fuse import fuse_pair, load_module
from refusion.networks import FusionModule
from refusion.runtime.ports import free_ports
from refusion.tracking.loading import find_model
from refusion.tracking.models.version import Version
from refusion.tracking.recorder import TaskRecorder
from refusion.tracking.runs import start_job_run

ROOT = Path(__file__).resolve().parents[3]
MODEL = "models:/refusion-MFIF@best"
DRAW = np.random.default_rng(0)
A, B = (DRAW.integers(0, 256, (24, 32), dtype=np.uint8) for _ in "ab")
COLOUR = DRAW.integers(0, 256, (24, 32, 3), dtype=np.uint8)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(
    uri: str, experiment: str, version: Callable[..., Version], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint whose module is registered."""
    shape = {"width": 8, "heads": 2, "blocks": 1, "expansion": 2}
    place = tmp_path_factory.mktemp("served")
    safetensors.torch.save_file(FusionModule(**shape).state_dict(), str(place / "fusion.safetensors"))
    (place / "settings.yaml").write_text(yaml.safe_dump({"task": "MFIF", "network": shape}))
    recorder = TaskRecorder(uri, start_job_run(uri, experiment, "served", {}, {}))
    assert recorder.model(place, version("MFIF", recorder.run_id)) == "1"
    return place


@pytest.fixture(scope="module")
def environment(uri: str) -> dict[str, str]:
    own = {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT / "platform"), "OMP_NUM_THREADS": "1", "NO_PROXY": "*"}
    # MLflow calls uvicorn by its name, as in an environment that is activated.
    own["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, **own}


@pytest.fixture(scope="module")
def address(folder: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the model on this machine."""
    (port,) = free_ports(1)
    log = tmp_path_factory.mktemp("log") / "serve.txt"
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", MODEL, "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    with log.open("w") as file:
        server = subprocess.Popen(
            command, env=environment, cwd=log.parent, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def wait_for(page: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end and server.poll() is None:
        try:
            with opened(page):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"the server did not answer: {log.read_text()[-3000:]}")


def opened(page: str | urllib.request.Request) -> Any:
    # Without the proxies of the environment: it is this machine.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(page, timeout=60)


def ask(address: str, content: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with opened(request) as answer:
        return json.loads(answer.read())["predictions"]


def encoded(picture: np.ndarray) -> str:
    ordered = picture if picture.ndim == 2 else picture[..., ::-1]
    return base64.b64encode(cv2.imencode(".png", ordered)[1].tobytes()).decode()


def same_picture(answer: Any, fused: np.ndarray) -> bool:
    """Up to rounding: the server's operations run in another order (other threads, compiled or not)."""
    difference = np.abs(np.array(answer, int) - fused)
    return difference.max() <= 1 and np.count_nonzero(difference) <= 0.005 * difference.size


def test_arrays_over_http_are_fused_as_the_checkpoint_fuses(address: str, folder: Path) -> None:
    module = load_module(folder)
    grey = ask(address, {"inputs": {"a": A.tolist(), "b": B.tolist()}})
    assert same_picture(grey, fuse_pair(module, A, B))
    colour = ask(address, {"inputs": {"a": A.tolist(), "b": COLOUR.tolist()}})
    assert same_picture(colour, fuse_pair(module, A, COLOUR))
    several = ask(address, {"inputs": {"a": [A.tolist(), B.tolist()], "b": [B.tolist(), A.tolist()]}})
    assert same_picture(several, np.stack([fuse_pair(module, A, B), fuse_pair(module, B, A)]))


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records"])
def test_a_data_frame_of_image_files_is_fused_row_by_row(address: str, folder: Path, form: str) -> None:
    rows = [[encoded(A), encoded(COLOUR)], [encoded(B), encoded(A)]]
    split = {"columns": ["a", "b"], "data": rows}
    content = split if form == "dataframe_split" else [dict(zip("ab", row, strict=True)) for row in rows]
    first, second = ask(address, {form: content})
    module = load_module(folder)
    assert same_picture(first, fuse_pair(module, A, COLOUR))
    assert same_picture(second, fuse_pair(module, B, A))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"inputs": {"a": A.tolist()}}, "missing inputs ['b']"),
        ({"inputs": {"a": A.tolist(), "b": B[:, :9].tolist()}}, "must be of one size"),
        ({"inputs": {"a": [1, 2], "b": [3, 4]}}, "is of shape (2,)"),
        ({"dataframe_records": [{"a": "no picture", "b": encoded(A)}]}, "no image file in base64"),
    ],
)
def test_wrong_input_is_answered_with_a_sentence(address: str, content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(address, content)
    assert refused.value.code == 400
    assert sentence in json.loads(refused.value.read())["message"]


def test_predict_takes_the_models_own_example(
    folder: Path, uri: str, environment: dict[str, str], tmp_path: Path
) -> None:
    model = find_model(MODEL, uri).folder.parents[1]
    out = tmp_path / "out.json"
    command = [
        *(sys.executable, "-m", "mlflow", "models", "predict", "-m", MODEL, "--env-manager", "local"),
        *("-i", str(model / "serving_input_example.json"), "-o", str(out), "-t", "json"),
    ]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    example = json.loads((model / "serving_input_example.json").read_text())["inputs"]
    expected = fuse_pair(load_module(folder), *(np.array(example[side], np.uint8) for side in "ab"))
    assert same_picture(json.loads(out.read_text())["predictions"], expected)


def test_page_and_programs_see_inputs_and_the_output(folder: Path, uri: str) -> None:
    found = Model.load(str(find_model(MODEL, uri).folder.parents[1]))
    assert found.signature.inputs.input_names() == ["a", "b"]
    assert "uint8" in found.signature.outputs.input_names()[0]
    aliases = MlflowClient(uri).get_registered_model("refusion-MFIF").aliases
    assert {name: str(number) for name, number in aliases.items()} == {"best": "1", "candidate": "1"}
