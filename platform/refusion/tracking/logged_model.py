"""The model that MLflow loads: this very file is copied into each logged model ("models from code").

Nothing is pickled: MLflow runs this file, and the weights come from the checkpoint's ``fusion.safetensors``. It needs
this package where it is loaded. A network of the user's own (``network.kind module:Class``) needs its module there too,
and is run only where the environment variable ``REFUSION_TRUST_CODE`` names it (several by commas), or is 1 for any.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel
from numpy.typing import NDArray
from PIL import Image


class FusionPythonModel(PythonModel):
    """Fuses pairs of images.

    ``predict`` takes ``{"a": image, "b": image}``: arrays (H,W) or (H,W,3) of equal height and width, 0–255, uint8 or
    float, of one pair; (N,H,W) or (N,H,W,3) of several. Or a data frame, whose columns ``a`` and ``b`` hold an image
    file (PNG, JPEG …) in base64, a pair in each row. It returns a uint8 array, (H,W) or (H,W,3), with the colour that
    the task's rule gives; of several pairs a list of them.
    """

    # MLflow would warn that it infers no signature from type hints, but none of its signatures can say that an image is
    # (H,W) or (H,W,3), of uint8 or float.
    _skip_type_hint_validation = True

    def load_context(self, context):  # type: ignore[no-untyped-def]
        from refusion.fuse import load_module

        # A model from a store that others write to must not bring code along: the user of the model decides.
        trusted = os.environ.get("REFUSION_TRUST_CODE", "")
        self.module = load_module(
            Path(context.artifacts["checkpoint"]), trust_code=trusted == "1" or trusted.split(",")
        )

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        from refusion.errors import UserError
        from refusion.fuse import fuse_pair

        (first, several), (second, _) = (images_of(model_input[name], name) for name in ("a", "b"))
        if len(first) != len(second):
            raise _refusal(f"there are {len(first)} images in 'a' and {len(second)} in 'b'")
        try:
            fused = [fuse_pair(self.module, a, b) for a, b in zip(first, second, strict=True)]
        except UserError as error:
            # A server answers with it, rather than with a traceback.
            raise _refusal(str(error)) from error
        return fused if several else fused[0]


def images_of(given: Any, name: str) -> tuple[list[NDArray[Any]], bool]:
    """Returns a list of images, (H,W) or (H,W,3) each, and True where the form of the input is that of several.

    Raises:
        MlflowException: it is no image.
    """
    values = np.asarray(given)
    if values.ndim == 1 and len(values) and all(isinstance(text, str) for text in values):
        return [_decoded(text, name) for text in values], True
    try:
        # From JSON numbers come as objects.
        numbers = values if values.dtype.kind in "uif" else values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise _refusal(f"{name!r} holds something that is no number, or rows of different lengths") from error
    if numbers.ndim == 2 or (numbers.ndim == 3 and numbers.shape[2] == 3):
        return [numbers], False
    if numbers.ndim == 3 or (numbers.ndim == 4 and numbers.shape[3] == 3):
        return list(numbers), True
    raise _refusal(
        f"{name!r} is of shape {numbers.shape}: give (H, W) or (H, W, 3), several as (N, H, W) or (N, H, W, 3), "
        "or image files in base64"
    )


def _decoded(text: str, name: str) -> NDArray[Any]:
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            if image.mode.startswith("I;16") or image.mode == "I":
                return np.asarray(image, dtype=np.float32) / 257
            return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, ValueError, binascii.Error, Image.DecompressionBombError) as error:
        raise _refusal(f"{name!r} holds a text that is no image file in base64 ({error})") from error


def _refusal(text: str) -> MlflowException:
    return MlflowException(text, error_code=INVALID_PARAMETER_VALUE)


mlflow.models.set_model(FusionPythonModel())
