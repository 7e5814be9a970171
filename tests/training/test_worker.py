from __future__ import annotations

import subprocess
import sys


def test_processes_that_train_import_neither_mlflow_nor_what_draws() -> None:
    """Each worker and each trial would pay a second for it, on every restart again."""
    code = (
        "import sys, refusion.training.worker, refusion.search.trials.trainable\n"
        "print(*sorted({'mlflow', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
