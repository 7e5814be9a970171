"""Examples that are built in: the val scenes of the builtin data, one row each."""

from __future__ import annotations

from refusion.config.settings import BUILTIN
from refusion.images.dataset import data_folder, make_available
from refusion.tasks import TASKS


def builtin_examples() -> dict[str, list[str]]:
    """Returns by label the task and the two files of each example; their folder is made where it is missing.

    Raises:
        UserError: the folder cannot be written.
    """
    root = data_folder(BUILTIN)
    make_available(BUILTIN, root)
    found = {}
    for task in TASKS:
        for a in sorted((root / task / "val" / "a").iterdir()):
            label = f"{task} · {a.stem.partition('_')[2]}"
            found[label] = [task, str(a), str(root / task / "val" / "b" / a.name)]
    return found
