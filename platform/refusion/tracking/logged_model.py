"""The model that MLflow loads: this very file is copied into each logged model ("models from code").

Nothing is pickled: MLflow runs this file, and the weights come from the checkpoint's ``fusion.safetensors``. It needs
this package where it is loaded. A network of the user's own (``network.kind module:Class``) needs its module there too,
and is run only where the environment variable ``REFUSION_TRUST_CODE`` names it (several by commas), or is 1 for any.
"""

from __future__ import annotations

import os
from pathlib import Path

import mlflow
from mlflow.pyfunc.model import PythonModel


class FusionPythonModel(PythonModel):
    """Fuses one pair of images.

    ``predict`` takes ``{"a": image, "b": image}``: arrays (H,W) or (H,W,3) of equal height and width, 0–255, uint8
    or float. It returns a uint8 array, (H,W) or (H,W,3), with the colour that the task's rule gives.
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
        from refusion.fuse import fuse_pair

        missing = [name for name in ("a", "b") if name not in model_input]
        if missing:
            raise ValueError(f"the model's input is a dict of images 'a' and 'b': {missing} missing")
        return fuse_pair(self.module, model_input["a"], model_input["b"])


mlflow.models.set_model(FusionPythonModel())
