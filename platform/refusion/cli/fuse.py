"""The command line of jobs/fuse.py: pictures on disk to fused pictures on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from refusion.cli.options import Parser
from refusion.errors import UserError
from refusion.fuse import fuse_pair, load_module
from refusion.images.reading import IMAGE_SUFFIXES, read_image, write_image
from refusion.ops.backend import configure
from refusion.tasks import find_task
from refusion.tracking.registry import model_checkpoint
from refusion.tracking.store import resolve_tracking_uri


def fuse(arguments: Sequence[str], description: str) -> int:
    """Fuse two files, or all pairs of equal stems of two folders; returns the exit status.

    Raises:
        UserError: the request or a picture is at fault.
    """
    parser = Parser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--checkpoint", required=True, metavar="C", help="checkpoint folder, .pth file or models:/… URI"
    )
    parser.add_argument("--task", required=True, metavar="T", help="fusion task: says what a and b are")
    parser.add_argument("--a", required=True, type=Path, metavar="FILE|DIR", help="source a, or a folder of them")
    parser.add_argument("--b", required=True, type=Path, metavar="FILE|DIR", help="source b, or a folder of them")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the fused PNG files")
    parser.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda or cuda:N [cpu]")
    parser.add_argument("--tracking-uri", metavar="URI", help="MLflow's store, for models:/… and runs:/…")
    options = parser.parse_args(list(arguments))
    task = find_task(options.task)
    console = Console()
    device = _device(options.device)
    module = load_module(find_checkpoint(options.checkpoint, options.tracking_uri)).to(device)
    configure(device)
    matched = match(options.a, options.b)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {options.out}: the folder cannot be made ({error.strerror})") from error
    shown = track(matched, "fusing", console=console, disable=not console.is_terminal)
    for name, a, b in shown:
        sources = read_image(a), read_image(b)
        if sources[0].shape[:2] != sources[1].shape[:2]:
            (height_a, width_a), (height_b, width_b) = (source.shape[:2] for source in sources)
            raise UserError(f"{a} is {width_a}×{height_a} but {b} is {width_b}×{height_b}: sources must be of one size")
        write_image(options.out / f"{name}.png", fuse_pair(module, *sources))
    console.print(f"{task.name}: {len(matched)} fused in {options.out}", markup=False, soft_wrap=True)
    return 0


def find_checkpoint(checkpoint: str, tracking_uri: str | None = None) -> str | Path:
    """A local path for what ``--checkpoint`` names: MLflow's models are looked up and fetched, paths stay.

    Raises:
        UserError: there is no such model.
    """
    if checkpoint.startswith(("models:", "runs:")):
        return model_checkpoint(checkpoint, resolve_tracking_uri(tracking_uri))
    return checkpoint


def match(a: Path, b: Path) -> list[tuple[str, Path, Path]]:
    """(name, file a, file b) of two files, or of all pictures of equal stems in two folders.

    Raises:
        UserError: one is missing, one is a file and the other a folder, or a picture has no partner or two.
    """
    for option, path in (("--a", a), ("--b", b)):
        if not path.exists():
            raise UserError(f"{option} {path}: there is no such file or folder")
    if a.is_file() and b.is_file():
        return [(a.stem, a, b)]
    if a.is_file() or b.is_file():
        raise UserError(f"--a {a} and --b {b}: give two files or two folders")
    of_a, of_b = pictures_in("--a", a), pictures_in("--b", b)
    lonely = sorted(str(of_a.get(name) or of_b[name]) for name in of_a.keys() ^ of_b.keys())
    if lonely:
        raise UserError(f"these pictures have no partner of the same stem: {', '.join(lonely[:20])}")
    return [(name, of_a[name], of_b[name]) for name in sorted(of_a)]


def pictures_in(option: str, folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their stems, in the order of names; ``option`` is who named it, for messages.

    Raises:
        UserError: there is no such folder, no picture in it, or two of one stem.
    """
    if not folder.is_dir():
        raise UserError(f"{option} {folder}: there is no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise UserError(f"{option} {folder}: {found[path.stem].name} and {path.name} have one stem")
            found[path.stem] = path
    if not found:
        raise UserError(f"{option} {folder}: there is no picture ({', '.join(IMAGE_SUFFIXES)}) in it")
    return found


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: choose cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {name}: there is no CUDA device on this machine")
    return device
