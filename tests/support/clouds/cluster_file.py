"""Commands of cluster.yaml, as they can be run on machines of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]


def start_commands(kind: str) -> list[str]:
    """Returns the commands that start Ray on the ``head`` or a ``worker``, without MLflow's server (systemd's)."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    found: list[str] = content[f"{kind}_start_ray_commands"]
    return [command for command in found if "mlflow_on_head.sh" not in command]


def bootstrap_file(workers: int) -> str:
    """Returns what `ray up` leaves on the head for its autoscaler, of a provider that starts no machine."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    content["provider"] = {"type": "readonly"}
    content["available_node_types"] = {
        "head": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": workers},
    }
    content["max_workers"], content["cluster_synced_files"] = workers, []
    return yaml.safe_dump(content)
