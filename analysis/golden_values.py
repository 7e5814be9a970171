"""Digests of the results of one seed, to be compared with those of another commit on the same machine.

python analysis/golden_values.py --out golden.json                    # run all of it
python analysis/golden_values.py --against golden.json                # run all of it again, and compare
python analysis/golden_values.py --code OTHER/CHECKOUT --out old.json

A change that is not about numbers leaves each of them as it is. They hold for one processor, one number of threads and
one release of torch, which is why the program is kept and not its values.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors.numpy import load_file

_ROOT = Path(__file__).resolve().parents[1]
_TASKS = ("IVIF", "MIF", "MFIF", "MEIF")
_SHORT = (
    *("--schedule.epochs", "2", "--schedule.meta_iterations", "2", "--schedule.fusion_steps", "4"),
    *("--images.crop", "32", "--images.batch", "2", "--validation.images", "2", "--validation.pictures", "1"),
)
_LONGER = (*_SHORT, "--schedule.epochs", "4", "--validation.every", "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the jobs, prints a line for each value, and returns 1 where one differs from ``--against``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", type=Path, default=_ROOT, metavar="DIR", help="the checkout whose jobs run [this]")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where the values are written")
    parser.add_argument("--against", type=Path, metavar="FILE.json", help="values to compare with")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the jobs' files stay [a folder that goes]")
    options = parser.parse_args(arguments)
    expected = json.loads(options.against.read_text()) if options.against else {}
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="golden-") as folder:
        for name, value in golden_values(options.code.resolve(), (options.keep or Path(folder)).resolve()):
            found[name] = value
            outcome = "" if name not in expected else "  same" if expected[name] == value else "  DIFFERS"
            print(f"{name:40} {value}{outcome}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    missing = sorted(expected.keys() - found.keys())
    if missing:
        print(f"not found: {', '.join(missing)}", file=sys.stderr)
    return int(bool(missing) or any(expected.get(name, value) != value for name, value in found.items()))


def golden_values(code: Path, home: Path) -> Iterator[tuple[str, str]]:
    """Yields (name, digest) of each result of the jobs of a checkout, which keep everything under ``home``."""
    for name, compiled in (("train", ()), ("train --no-compile", ("--no-compile",))):
        run = name.replace(" --", "-")
        tasks = _TASKS if not compiled else ("IVIF",)
        _job(code, home, "train_all_tasks.py", "--tasks", *tasks, *_SHORT, *compiled, "--seed", "7", "--run-name", run)
        for task in tasks:
            yield from _modules(f"{name} {task}", home / "runs" / run / task / "final")
    for name, preset, more in (
        ("sweep", "sweep-quick", ("--trials", "4", "--search", "random", "--scheduler", "none")),
        ("pbt", "sweep-pbt", ("--trials", "3", "--interval", "2")),
    ):
        # By its path: a checkout of before does not know presets by their names.
        given = ("--config", str(code / "jobs" / "presets" / f"{preset}.yaml"), *more)
        _job(code, home, "sweep.py", "--task", "IVIF", *given, *_LONGER, "--seed", "7", "--run-name", name)
        for path in sorted((home / "sweeps" / name).rglob("fusion.safetensors")):
            yield f"{name} {path.parent.relative_to(home / 'sweeps' / name)}", _digest_of_tensors(path)
        yield f"{name} best.yaml", _digest((home / "sweeps" / name / "best.yaml").read_bytes())
    checkpoint = str(home / "runs" / "train" / "IVIF" / "final")
    table, pictures = home / "scores.csv", home / "pictures"
    methods = ("--checkpoint", f"ours={checkpoint}", "--baseline", "average", "--baseline", "laplacian")
    scored = (*methods, "--metrics", "all")
    _job(
        code,
        home,
        "evaluate.py",
        "--task",
        "IVIF",
        "--data",
        "builtin",
        *scored,
        "--save",
        str(pictures),
        "--out",
        str(table),
    )
    for path in sorted(home.glob("scores*.csv")):
        yield f"evaluate {path.name}", _digest(path.read_bytes())
    yield from _pictures("evaluate", pictures)
    sides = [str(next(pictures.rglob(side))) for side in ("average", "laplacian")]
    for name, environment in (("fuse", {}), ("fuse, not compiled", {"CXX": "/nowhere/c++"})):
        out = home / name.replace(", ", "-").replace(" ", "-")
        request = ("--checkpoint", checkpoint, "--task", "IVIF", "--a", sides[0], "--b", sides[1], "--out", str(out))
        _job(code, home, "fuse.py", *request, **environment)
        yield from _pictures(name, out)


def _job(code: Path, home: Path, job: str, *arguments: str, **environment: str) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(
        [sys.executable, str(code / "jobs" / job), *arguments],
        env={**plain, "REFUSION_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"jobs/{job} {' '.join(arguments)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")


def _modules(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.glob("*.safetensors")):
        yield f"{name} {path.stem}", _digest_of_tensors(path)


def _pictures(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    paths = sorted(folder.rglob("*.png"))
    yield f"{name} {len(paths)} pictures", _digest(b"".join(path.read_bytes() for path in paths))


def _digest_of_tensors(path: Path) -> str:
    tensors = load_file(path)
    return _digest(b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors)))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
