from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures.clips import encode, frames, number_of

from refusion.config.ranges import Reading, parse_ranges
from refusion.errors import UserError
from refusion.images.video.footage import Footage, check_footage
from refusion.images.writing import write_image

pytest.importorskip("av")


def _clip(path: Path, count: int = 6, seed: int = 0, **options: Any) -> Path:
    return encode(path, frames(count, seed=seed), "gray", **options)


def _folder(path: Path, pictures: list[Any], names: list[str] | None = None) -> Path:
    path.mkdir()
    for number, picture in enumerate(pictures):
        write_image(path / f"{names[number] if names else number + 1}.png", picture)
    return path


def _check(a: Path, b: Path, ranges: str = "auto", task: str = "IVIF", **options: Any) -> Footage:
    return check_footage(a, b, task, Reading(parse_ranges(ranges)), **options)


def test_two_videos_frame_by_frame(tmp_path: Path) -> None:
    a, b = _clip(tmp_path / "a.mkv"), _clip(tmp_path / "b.mp4", seed=1, codec="libx264", pix_fmt="yuv420p")
    seen: list[int] = []
    footage = _check(a, b, progress=lambda done, _: seen.append(done))
    assert (footage.count, footage.rate, footage.size, footage.even) == (6, 10, (32, 48), True)
    assert seen == list(range(1, 13))
    both = list(footage.frames())
    assert [number_of(one) for one, _, _ in both] == [number_of(two) for _, two, _ in both] == list(range(6))
    assert [time for _, _, time in both] == [None] * 6


def test_folders_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sides = [_folder(tmp_path / side, frames(11, seed=seed)) for seed, side in enumerate("ab")]
    footage = _check(*sides)
    assert (footage.count, footage.rate) == (11, 25)
    assert [number_of(a) for a, _, _ in footage.frames()] == list(range(11))
    assert _check(*sides, rate=Fraction(30000, 1001)).rate == Fraction(30000, 1001)


def test_one_range_for_all_frames(tmp_path: Path) -> None:
    counts = [(picture.astype(np.uint16) * 3 + 7000 + 100 * number) for number, picture in enumerate(frames(4))]
    a, b = _folder(tmp_path / "a", counts), _folder(tmp_path / "b", frames(4, seed=1))
    as_folders = [one for one, _, _ in _check(a, b).frames()]
    rises = [float(later.mean() - first.mean()) for first, later in pairwise(as_folders)]
    assert min(rises) > 10
    clip = encode(tmp_path / "a.mkv", counts, "gray16le")
    of_clip = [one for one, _, _ in _check(clip, _clip(tmp_path / "b.mkv", 4, seed=1)).frames()]
    np.testing.assert_allclose(of_clip, as_folders, atol=1)
    other = [picture + 2000 for picture in counts]
    together = _check(a, _folder(tmp_path / "c", other), task="MEIF")
    assert all(two.mean() > one.mean() + 50 for one, two, _ in together.frames())


@pytest.mark.parametrize("ranges", ["7000,9000", "data"])
def test_a_stated_range_is_that_of_all_frames(tmp_path: Path, ranges: str) -> None:
    counts = [np.full((32, 48), 7000 + 500 * number, np.uint16) for number in range(5)]
    for picture in counts:
        picture[0, 0] += 1
    clip = encode(tmp_path / "a.mkv", counts, "gray16le")
    levels = [one[5, 5] for one, _, _ in _check(clip, _clip(tmp_path / "b.mkv", 5), f"a={ranges} b=full").frames()]
    assert levels == pytest.approx([0, 63.75, 127.5, 191.25, 255], abs=0.2)


def test_all_faults_of_two_videos_are_listed_together(tmp_path: Path) -> None:
    a = _clip(tmp_path / "a.mkv")
    b = encode(tmp_path / "b.mkv", [picture[2:] for picture in frames(5, seed=1)], "gray", rate=15)
    with pytest.raises(UserError) as caught:
        _check(a, b)
    assert str(caught.value).splitlines() == [
        "these videos cannot be fused:",
        f"  {b}: sizes differ: 48×32 in a, 48×30 in b",
        f"  {b}: frame rates differ: 10 in a, 15 in b",
        f"  {b}: frame counts differ: 6 in a, 5 in b; cut the longer one, or fuse the first 5 by --skip-bad-pairs",
    ]
    (tmp_path / "text.mp4").write_text("nothing")
    with pytest.raises(UserError, match=r"text\.mp4: is no video that can be read(.|\n)*none\.mp4: cannot be read"):
        _check(tmp_path / "text.mp4", tmp_path / "none.mp4")
    assert _check(a, _clip(tmp_path / "c.mkv", 4, seed=2), skip_bad=True).count == 4


def test_a_video_is_never_fused_with_itself(tmp_path: Path) -> None:
    a = _clip(tmp_path / "a.mkv")
    (tmp_path / "link.mkv").symlink_to(a)
    with pytest.raises(UserError, match="both are the same file"):
        _check(a, tmp_path / "link.mkv")
    with pytest.raises(UserError, match="both files are the same video"):
        _check(a, _clip(tmp_path / "copy.avi"))


def test_requests_that_make_no_footage(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "a.mkv")
    folder = _folder(tmp_path / "a", frames(2))
    sizes = [_folder(tmp_path / side, [*frames(2, seed=n), frames(3, seed=n)[2][2:]]) for n, side in enumerate("xy")]
    for a, b, options, sentence in (
        (clip, folder, {}, "give two videos or two folders of frames"),
        (folder, folder / "1.png", {}, "give two videos or two folders of frames"),
        (clip, clip, {"rate": Fraction(5)}, "--fps goes with folders of frames"),
        (*sizes, {}, "frames of a video have one size, but these have 2\n.*is 48×"),
    ):
        with pytest.raises(UserError, match=sentence):
            _check(a, b, **options)


def test_a_video_with_frames_missing_is_told(tmp_path: Path) -> None:
    import av

    whole = encode(tmp_path / "w.mp4", frames(30), "gray", codec="mjpeg", pix_fmt="yuvj420p")
    with av.open(str(whole)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    data[places[20] : places[21]] = bytes(places[21] - places[20])
    (tmp_path / "hole.mp4").write_bytes(data)
    with pytest.raises(UserError, match=r"hole\.mp4: is damaged"):
        _check(tmp_path / "hole.mp4", _clip(tmp_path / "b.mkv", 30, seed=1))


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("x.mkv", "ffv1", "gray"), ("x.mkv", "libx264", "yuv420p")])
def test_half_a_video_is_told_where_no_header_counts_its_frames(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    whole = encode(tmp_path / name, frames(30), "gray", codec=codec, pix_fmt=pix_fmt)
    other = _clip(tmp_path / "b.mkv", 30, seed=1)
    assert _check(whole, other).count == 30
    data = whole.read_bytes()
    (tmp_path / f"half_{name}").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"half_x\.mkv: is damaged: it ends at \d\.\d of its 3\.0 seconds"):
        _check(tmp_path / f"half_{name}", other)
