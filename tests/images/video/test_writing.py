from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pictures.clips import SIZE, frames

from refusion.errors import UserError
from refusion.images.video.reading import read_frames
from refusion.images.video.writing import written_video

pytest.importorskip("av")


def test_times_of_their_own_are_kept(tmp_path: Path) -> None:
    times = [Fraction(number * number, 50) for number in range(6)]
    for suffix in (".mp4", ".mkv"):
        with written_video(tmp_path / f"x{suffix}", SIZE, Fraction(10), grey=True, even=False) as video:
            for picture, time in zip(frames(), times, strict=True):
                video.add(picture, time)
        found = [float(frame.time or 0) for frame in read_frames(tmp_path / f"x{suffix}")]
        assert found == pytest.approx([float(time) for time in times], abs=1e-3)


def test_a_video_is_whole_or_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="stopped"),
        written_video(tmp_path / "x.mp4", SIZE, Fraction(10), grey=True) as video,
    ):
        video.add(frames()[0])
        raise RuntimeError("stopped")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"give the video one of the suffixes \.mp4, \.mov, \.mkv"),
        written_video(tmp_path / "x.gif", SIZE, Fraction(10), grey=True),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"x\.mp4: cannot be written \("),
        written_video(tmp_path / "none" / "x.mp4", SIZE, Fraction(10), grey=True) as video,
    ):
        video.add(frames()[0])
    with (
        pytest.raises(ValueError, match="expected a grey picture"),
        written_video(tmp_path / "y.mkv", SIZE, Fraction(10), grey=True) as video,
    ):
        video.add(np.zeros((*SIZE, 3), np.uint8))
