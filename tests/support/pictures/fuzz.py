"""Fuzzing of the reader: whole files of every format, damaged at random; run as a script, for as long as one likes.

python tests/support/pictures/fuzz.py --minutes 10
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

# As pytest's configuration puts them on the path.
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[3] / "platform")]

from pictures.cells import CELLS  # noqa: E402

from refusion.images.limits import UnreadableImageError  # noqa: E402
from refusion.images.reading import decode  # noqa: E402

MEGAPIXELS = 0.25
_LIMITS = settings(
    max_examples=500, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
_NUMBERS = (0, 1, 2, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)


@cache
def whole_files() -> tuple[bytes, ...]:
    """Returns a file of each cell of the table."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, cell in enumerate(CELLS.values()):
            path = Path(folder) / f"{number}{cell.suffix}"
            cell.write(path)
            files.append(path.read_bytes())
    return tuple(files)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draws a whole file with bytes and numbers overwritten, cut out, put in, or cut off."""
    data = bytearray(draw(st.sampled_from(whole_files())))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(len(data) - 1, 0)) | st.integers(0, 200))
        kind = draw(st.sampled_from(["byte", "number", "cut", "insert", "end"]))
        if kind == "byte":
            data[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif kind == "number":
            number, form = draw(st.sampled_from(_NUMBERS)), draw(st.sampled_from((">I", "<I", ">H", "<H")))
            packed = struct.pack(form, number & (0xFFFF if form[1] == "H" else 0xFFFFFFFF))
            data[at : at + len(packed)] = packed
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=40))
        else:
            del data[at:]
    return bytes(data)


def read(data: bytes) -> str:
    """Returns "read" or "refused"; anything else is a fault, which is raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            samples = decode(data, Path("fuzzed"), MEGAPIXELS)
        except UnreadableImageError:
            return "refused"
    height, width = samples.values.shape[:2]
    if not (0 < height * width <= MEGAPIXELS * 1e6 and samples.values.ndim in (2, 3)):
        raise AssertionError(f"a picture of shape {samples.values.shape}")
    if samples.values.ndim == 3 and samples.values.shape[2] != 3:
        raise AssertionError(f"a picture of shape {samples.values.shape}")
    return "read"


def _run(minutes: float, first: int) -> None:
    counts: Counter[str] = Counter()
    slowest = 0.0
    crash = Path(tempfile.gettempdir()) / f"fuzz-{first}.bin"

    def once(data: bytes) -> None:
        nonlocal slowest
        # A crash of a C library leaves its input behind.
        crash.write_bytes(data)
        began = time.perf_counter()
        counts[read(data)] += 1
        slowest = max(slowest, time.perf_counter() - began)

    begin, number = time.monotonic(), first
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() - begin < minutes * 60:
        number += 1
        test = given(damaged() | st.binary(max_size=400))(once)
        limits = settings(
            max_examples=500,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(number)(limits(test))()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{sum(counts.values())} files in {time.monotonic() - begin:.0f} s: {dict(counts)}; slowest {slowest:.2f} s; "
        f"peak memory {peak / 1024:.0f} MiB, {(peak - before) / 1024:.0f} MiB above that before"
    )
    crash.unlink()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    given_options = parser.parse_args()
    print(f"seed {given_options.seed}", flush=True)
    whole_files()
    _run(given_options.minutes, given_options.seed)
