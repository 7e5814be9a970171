from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures.clips import encode, frames, number_of
from shipped_modules import tiny_checkpoint

from refusion.cli.fuse import fuse
from refusion.errors import UserError
from refusion.fuse import fuse_exact, fuse_luminance, load_module
from refusion.fusing import video
from refusion.images.colour import luminance
from refusion.images.video.reading import read_frames, read_header
from refusion.images.writing import write_image

pytest.importorskip("av")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    # A mixture of its sources, so that fused frames tell their number, too.
    return tiny_checkpoint(tmp_path / "checkpoint", network={"output": "mixture"})


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    """Six frames: a grey, b coloured."""
    a = encode(tmp_path / "ir.mkv", frames(), "gray", rate=12)
    return a, encode(tmp_path / "vis.mkv", frames(colour=True, seed=1), "rgb24", pix_fmt="bgr0", rate=12)


def asked(checkpoint: Path, a: Path, b: Path, out: Path, *more: str) -> list[str]:
    named = ["--a", str(a), "--b", str(b), "--out", str(out)]
    return ["--checkpoint", str(checkpoint), "--task", "IVIF", *named, *more]


def _values(file: Path) -> list[Any]:
    return [frame.samples.values for frame in read_frames(file)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_two_videos_become_one(
    checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / f"fused{suffix}"
    assert fuse(asked(checkpoint, *clips, out), "") == 0
    fused = _values(out)
    assert [number_of(picture) for picture in fused] == list(range(6))
    assert read_header(out).rate == 12
    assert fused[0].shape == (32, 48, 3)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    said = capsys.readouterr().out
    assert "6 frames of 48×32, 12 frames a second" in said
    assert "6 frames fused in" in said


def test_each_frame_is_that_of_the_pair_with_one_stretch_for_all(
    checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path
) -> None:
    pairs = list(zip(*map(_values, clips), strict=True))
    module = load_module(checkpoint)
    assert fuse(asked(checkpoint, *clips, tmp_path / "plain.mkv", "--no-stretch"), "") == 0
    for picture, (a, b) in zip(_values(tmp_path / "plain.mkv"), pairs, strict=True):
        expected = np.clip(fuse_exact(module, a, b, stretched=False), 0, 255)
        np.testing.assert_allclose(picture, expected, atol=0.51)
    assert fuse(asked(checkpoint, *clips, tmp_path / "grey.mkv", "--grey"), "") == 0
    planes = [fuse_luminance(module, np.stack([luminance(a), luminance(b)])) for a, b in pairs]
    low, high = min(plane.min() for plane in planes), max(plane.max() for plane in planes)
    for picture, plane in zip(_values(tmp_path / "grey.mkv"), planes, strict=True):
        np.testing.assert_allclose(picture, (plane - low) / (high - low) * 255, atol=0.51)


def test_a_scene_that_does_not_change_does_not_flicker(checkpoint: Path, tmp_path: Path) -> None:
    # A bright spot comes and goes; a stretch of each frame by itself would dim all else.
    still = [frames(1, seed=seed)[0] for seed in (0, 1)]
    sides = []
    for name, picture in zip("ab", still, strict=True):
        pictures = [(picture // 2).copy() for _ in range(4)]
        pictures[2][:6, :6] = 255
        pictures[3][0, 0] = 60
        sides.append(encode(tmp_path / f"{name}.mkv", pictures, "gray"))
    assert fuse(asked(checkpoint, *sides, tmp_path / "fused.mkv"), "") == 0
    corners = [float(picture[16:, 16:].mean()) for picture in _values(tmp_path / "fused.mkv")]
    assert max(corners) - min(corners) < 2


def test_the_stretch_is_found_on_few_frames_of_a_long_video(
    checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "STRETCH_FRAMES", 2)
    assert fuse(asked(checkpoint, *clips, tmp_path / "fused.mkv", "--grey"), "") == 0
    module, pairs = load_module(checkpoint), list(zip(*map(_values, clips), strict=True))
    planes = [fuse_luminance(module, np.stack([luminance(a), luminance(b)])) for a, b in pairs]
    low, high = min(planes[n].min() for n in (0, 5)), max(planes[n].max() for n in (0, 5))
    for picture, plane in zip(_values(tmp_path / "fused.mkv"), planes, strict=True):
        np.testing.assert_allclose(picture, np.clip((plane - low) / (high - low), 0, 1) * 255, atol=0.51)


def test_two_folders_of_frames_become_a_video(checkpoint: Path, tmp_path: Path) -> None:
    for seed, side in enumerate("ab"):
        (tmp_path / side).mkdir()
        for number, picture in enumerate(frames(11, seed=seed)):
            write_image(tmp_path / side / f"frame{number}.png", picture)
    out = tmp_path / "fused.mkv"
    folders = tmp_path / "a", tmp_path / "b"
    assert fuse(asked(checkpoint, *folders, out, "--fps", "29.97"), "") == 0
    assert [number_of(picture) for picture in _values(out)] == list(range(11))
    assert float(read_header(out).rate or 0) == pytest.approx(29.97, rel=1e-3)
    (tmp_path / "b" / "frame4.png").write_text("broken")
    with pytest.raises(UserError, match=r"frame4\.png: is not a readable image"):
        fuse(asked(checkpoint, *folders, tmp_path / "other.mkv"), "")
    assert fuse(asked(checkpoint, *folders, tmp_path / "other.mkv", "--skip-bad-pairs"), "") == 0
    assert [number_of(picture) for picture in _values(tmp_path / "other.mkv")] == [0, 1, 2, 3, *range(5, 11)]


def test_times_of_their_own_are_those_of_a(checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path) -> None:
    from refusion.images.video.writing import written_video

    times = [Fraction(number * number, 20) for number in range(6)]
    with written_video(tmp_path / "own.mkv", (32, 48), Fraction(12), grey=True, even=False) as written:
        for picture, time in zip(frames(), times, strict=True):
            written.add(picture, time)
    assert fuse(asked(checkpoint, tmp_path / "own.mkv", clips[1], tmp_path / "fused.mp4"), "") == 0
    found = [float(frame.time or 0) for frame in read_frames(tmp_path / "fused.mp4")]
    assert found == pytest.approx([float(time) for time in times], abs=1e-3)


def test_checking_writes_nothing_and_what_is_there_stays(
    checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fused.mkv"
    assert fuse(asked(checkpoint, *clips, out, "--check"), "") == 0
    assert "6 frames of 48×32" in capsys.readouterr().out
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(UserError, match="is there already; --overwrite fuses it anew, another --out keeps both"):
        fuse(asked(checkpoint, *clips, out), "")
    assert out.read_text() == "mine"
    assert fuse(asked(checkpoint, *clips, out, "--overwrite"), "") == 0
    assert len(_values(out)) == 6
    before = clips[0].read_bytes()
    with pytest.raises(UserError, match="is the source"):
        fuse(asked(checkpoint, *clips, clips[0], "--overwrite"), "")
    assert clips[0].read_bytes() == before


def test_flat_videos_stay_flat(checkpoint: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sides = [
        encode(tmp_path / f"{n}.mkv", [random.integers(90, 94, (32, 48)).astype(np.uint8) for _ in range(3)], "gray")
        for n in range(2)
    ]
    assert fuse(asked(checkpoint, *sides, tmp_path / "fused.mkv"), "") == 0
    values = np.stack(_values(tmp_path / "fused.mkv"))
    assert np.ptp(values.astype(int)) < 40


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--out", "fused"], r"--out fused: a video is written to a file with the suffix \.mp4, \.mov or \.mkv"),
        (["--out", "fused.avi"], r"a video is written to a file with the suffix"),
        (["--b", "vis.png"], "give two videos or two folders of frames"),
        (["--fps", "12"], "--fps goes with folders of frames; a video has its own rate"),
        (["--fps", "fast"], "--fps fast: must be a number above 0"),
        (["--workers", "2"], "--workers: is for pictures; leave it out where --out is a video"),
        (["--adapt", "2"], "--adapt: is for pictures"),
        (["--depth", "16"], "--depth and --format: are for pictures; a video has 8 bits"),
        (["--a", "a.png", "--b", "b.png", "--out", "out", "--fps", "3"], "--fps goes with a video: name one by --out"),
    ],
)
def test_requests_that_make_no_video(
    checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path, more: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        fuse(asked(checkpoint, *clips, tmp_path / "fused.mp4", *more), "")


def test_without_pyav_the_extra_is_named(
    checkpoint: Path, clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'refusion-platform\[video\]'"):
        fuse(asked(checkpoint, *clips, tmp_path / "fused.mp4"), "")
