"""Gradio as the demo imports it: without telemetry, without looking for new versions, its files in one folder."""

from __future__ import annotations

import os
from types import ModuleType

from refusion.errors import UserError

_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}


def gradio() -> ModuleType:
    """Imports Gradio, which the extra ``demo`` installs.

    Raises:
        UserError: it is not installed.
    """
    # Read when it is imported.
    os.environ.update(_QUIET)
    try:
        import gradio as found
    except ImportError as error:
        raise UserError(
            f"the demo needs Gradio ({error}): pip install 'refusion-platform[demo]', or in a checkout "
            "pip install -e '.[demo]'"
        ) from error
    module: ModuleType = found
    return module
