"""Makes docs/images/fused.jpg, the README's picture: a pair of each task and what a trained module makes of it.

    python docs/make_picture.py                 # by the modules that come along
    python docs/make_picture.py --run DIR       # by a run's, a folder with IVIF/, MIF/, MFIF/ and MEIF/

Only built-in scenes are shown, which the project makes itself from the pictures that scikit-image carries.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refusion.images.builtin import BUILTIN_VERSION, ensure_builtin

_ROOT = Path(__file__).resolve().parents[1]
_OUT = _ROOT / "docs" / "images" / "fused.jpg"
# The val scene that is shown of each task, and what its sources are.
_SHOWN = {
    "IVIF": ("01_coffee", "infrared", "visible"),
    "MIF": ("02_chelsea", "PET", "MRI"),
    "MFIF": ("02_astronaut", "focus on near", "focus on far"),
    "MEIF": ("01_chelsea", "under-exposed", "over-exposed"),
}
_HEIGHT = 240


def main() -> None:
    """Fuse one pair of each task, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run's folder [the modules that come along]")
    parser.add_argument("--home", type=Path, metavar="DIR", help="REFUSION_HOME with the built-in scenes [a new one]")
    parser.add_argument("--out", type=Path, default=_OUT, metavar="FILE.jpg", help=f"the picture [{_OUT}]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder) / "home"
        rows = {task: _row(task, options.run, home, Path(folder)) for task in _SHOWN}
    _draw(rows, options.out)


def _row(task: str, run: Path | None, home: Path, folder: Path) -> list[NDArray[np.uint8]]:
    name, *_ = _SHOWN[task]
    scenes = ensure_builtin(home / f"builtin-{BUILTIN_VERSION}")
    a, b = (next((scenes / task / "val" / side).glob(f"{name}.*")) for side in "ab")
    module = "pretrained" if run is None else run / task / "best"
    _job(home, "fuse.py", "--checkpoint", module, "--task", task, "--a", a, "--b", b, "--out", folder / task)
    (fused,) = (folder / task).iterdir()
    return [np.asarray(Image.open(file).convert("RGB")) for file in (a, b, fused)]


def _job(home: Path, job: str, *arguments: object) -> None:
    environment = {**os.environ, "REFUSION_HOME": str(home)}
    subprocess.run([sys.executable, f"jobs/{job}", *map(str, arguments)], cwd=_ROOT, env=environment, check=True)


def _draw(rows: dict[str, list[NDArray[np.uint8]]], out: Path) -> None:
    """Two tasks side by side, in two rows; every picture cut to one shape in its middle."""
    figure, axes = plt.subplots(2, 6, figsize=(13, 4.7), dpi=110)
    for index, (task, pictures) in enumerate(rows.items()):
        row, left = divmod(index, 2)
        for column, (picture, title) in enumerate(zip(pictures, (*_SHOWN[task][1:], f"fused ({task})"), strict=True)):
            axis = axes[row, 3 * left + column]
            axis.imshow(_square(picture))
            axis.set_title(title, fontsize=11, fontweight="bold" if column == 2 else "normal", pad=4)
            axis.axis("off")
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.01, top=0.93, wspace=0.03, hspace=0.14)
    # A gap between the two tasks of a row.
    for row in axes:
        for column, axis in enumerate(row):
            place = axis.get_position()
            axis.set_position([place.x0 + (0.004 if column > 2 else -0.004), place.y0, place.width, place.height])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, pil_kwargs={"quality": 85, "optimize": True})


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(cut.resize((_HEIGHT, _HEIGHT), Image.Resampling.LANCZOS))


if __name__ == "__main__":
    main()
