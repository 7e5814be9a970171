"""Speed of the metrics against NumPy, SciPy, scikit-image and sewar, and the memory that a large picture takes.

    python analysis/benchmarks/metrics.py [--height 480] [--width 640] [--repeats 5] [--threads N] [--large 4096]

Both sides score the same fused picture against the same two sources, in turn in one process after a warm-up; times are
medians. The reference is what people write today: whole-array NumPy for EN, SF, SD and SCD, SciPy's convolutions for
Qabf, scikit-image's SSIM and sewar's VIFp. The last column says how far the two scores are apart. Peak memory is what
scoring one large pair adds to a process at rest, in a fresh process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
import psutil
import sewar
import torch
from measuring import machine, peak_in_a_fresh_process, timed
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity

from refusion.metrics import evaluate

Grey = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]
SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
TARGET = 10.0


def entropy(f: Grey, a: Grey, b: Grey) -> float:  # noqa: ARG001 - all take the same pictures
    """EN."""
    shares = np.histogram(f, bins=256, range=(0, 256))[0] / f.size
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def spatial_frequency(f: Grey, a: Grey, b: Grey) -> float:  # noqa: ARG001
    """SF."""
    x = f.astype(float)
    return float(np.sqrt((np.diff(x, axis=0) ** 2).mean() + (np.diff(x, axis=1) ** 2).mean()))


def standard_deviation(f: Grey, a: Grey, b: Grey) -> float:  # noqa: ARG001
    """SD."""
    return float(f.astype(float).std())


def correlations_of_differences(f: Grey, a: Grey, b: Grey) -> float:
    """SCD."""
    x, y, z = (image.astype(float) for image in (f, a, b))
    return float(sum(np.corrcoef(s.ravel(), (x - t).ravel())[0, 1] for s, t in ((y, z), (z, y))))


def edges(image: Grey) -> tuple[Float, Float]:
    """Strength and angle of the Sobel edges."""
    x = image.astype(float)
    sx, sy = convolve2d(x, SOBEL, mode="same"), convolve2d(x, SOBEL.T[::-1], mode="same")
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.where(sx == 0, np.pi / 2, np.arctan(sy / sx))
    return np.sqrt(sx**2 + sy**2), angle


def edge_preservation(f: Grey, a: Grey, b: Grey) -> float:
    """Qabf."""
    g_f, angle_f = edges(f)
    preserved = available = 0.0
    for source in (a, b):
        g, angle = edges(source)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(g == g_f, g_f, np.minimum(g, g_f) / np.maximum(g, g_f))
        strength = 0.9994 / (1 + np.exp(-15 * (relative - 0.5)))
        direction = 0.9879 / (1 + np.exp(-22 * (1 - np.abs(angle - angle_f) / (np.pi / 2) - 0.8)))
        preserved += (strength * direction * g).sum()
        available += g.sum()
    return float(preserved / available)


def similarity(f: Grey, a: Grey, b: Grey) -> float:
    """SSIM."""
    return float(np.mean([structural_similarity(source, f) for source in (a, b)]))


def information(f: Grey, a: Grey, b: Grey) -> float:
    """VIF."""
    return float(np.mean([sewar.vifp(source, f) for source in (a, b)]))


REFERENCES: dict[str, Callable[[Grey, Grey, Grey], float]] = {
    "EN": entropy,
    "SF": spatial_frequency,
    "SD": standard_deviation,
    "SCD": correlations_of_differences,
    "Qabf": edge_preservation,
    "SSIM": similarity,
    "VIF": information,
}


def all_references(f: Grey, a: Grey, b: Grey) -> list[float]:
    """All seven, one after the other."""
    return [reference(f, a, b) for reference in REFERENCES.values()]


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    options = _options(arguments)
    asked: dict[str, str | list[str]] = {"the seven metrics": list(REFERENCES), "all metrics": "all"}
    peaks = {
        title: peak_in_a_fresh_process(score_large, options.large, options.threads, names, threads=options.threads)
        for title, names in asked.items()
        if options.large
    }
    torch.set_num_threads(options.threads)
    images = pictures(options.height, options.width)
    ours: dict[str, list[float]] = {name: [] for name in (*REFERENCES, "all")}
    theirs: dict[str, list[float]] = {name: [] for name in ours}
    apart: dict[str, float] = {}
    for turn in range(options.repeats + 1):
        for name, reference in REFERENCES.items():
            scores, seconds = timed(partial(evaluate, *images, name))
            expected, reference_seconds = timed(partial(reference, *images))
            apart[name] = abs(float(scores[name]) - expected)
            if turn:
                ours[name].append(seconds)
                theirs[name].append(reference_seconds)
        _, seconds = timed(partial(evaluate, *images, list(REFERENCES)))
        _, reference_seconds = timed(partial(all_references, *images))
        if turn:
            ours["all"].append(seconds)
            theirs["all"].append(reference_seconds)
    _report(options, ours, theirs, apart, peaks)
    return 0


def pictures(height: int, width: int) -> tuple[Grey, Grey, Grey]:
    """A fused picture and its two sources: smooth noise, each source blurred where the other is sharp."""
    rng = np.random.default_rng(0)
    scene = gaussian_filter(rng.normal(size=(height, width)), 1.5)
    scene = (scene - scene.min()) / np.ptp(scene) * 255
    blurred = gaussian_filter(scene, 3)
    near = np.arange(width) < width // 2
    a, b = np.where(near, scene, blurred), np.where(near, blurred, scene)
    grey_a, grey_b, fused = (np.rint(image).astype(np.uint8) for image in (a, b, 0.3 * a + 0.7 * b))
    return fused, grey_a, grey_b


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and memory of the metrics against NumPy, scikit-image, sewar.")
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each side")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count() or 1, help="of torch; NumPy has its own")
    parser.add_argument("--large", type=int, default=4096, help="side of the picture whose memory is measured; 0: none")
    options = parser.parse_args(arguments)
    if min(options.height, options.width) < 41:
        parser.error("--height and --width must be at least 41, which VIF needs")
    if 0 < options.large < 176:
        parser.error("--large must be at least 176, which MS-SSIM needs, or 0")
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads must be at least 1")
    return options


def score_large(side: int, threads: int, names: str | list[str]) -> Callable[[], object]:
    """A call that scores one pair of that side; a small one is scored before, since a first call has its own size."""
    torch.set_num_threads(threads)
    tile = pictures(512, 512)
    times = -(-side // 512)
    fused, a, b = (np.tile(image, (times, times))[:side, :side].copy() for image in tile)
    evaluate(*tile, names)
    return partial(evaluate, fused, a, b, names)


def _report(
    options: argparse.Namespace,
    ours: dict[str, list[float]],
    theirs: dict[str, list[float]],
    apart: dict[str, float],
    peaks: dict[str, float],
) -> None:
    console = Console()
    size = f"{options.width}×{options.height}"
    table = Table(title=f"Scores of one {size} pair, convention 'authors'", title_justify="left")
    for title in ("metric", "ours, ms", "reference, ms", "ratio", "apart"):
        table.add_column(title, justify="left" if title == "metric" else "right")
    for name, seconds in ours.items():
        mine, other = statistics.median(seconds), statistics.median(theirs[name])
        difference = f"{apart[name]:.1e}" if name in apart else ""
        table.add_row(name, f"{1e3 * mine:.2f}", f"{1e3 * other:.2f}", f"{other / mine:.1f}", difference)
    console.print(table)
    ratio = statistics.median(theirs["all"]) / statistics.median(ours["all"])
    outcome = "met" if ratio >= TARGET else "MISSED"
    console.print(f"all seven: {ratio:.1f} times as fast (target {TARGET:g}: {outcome})")
    for title, peak in peaks.items():
        console.print(
            f"{options.large}×{options.large}, {title}: {peak / 2**20:.0f} MB more than at rest "
            f"({peak / options.large**2:.0f} bytes per pixel)"
        )
    console.print(f"{machine()}, {options.threads} threads, torch {torch.__version__}")


if __name__ == "__main__":
    sys.exit(main())
