from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from pictures.clips import SIZE, encode, frames, number_of

from refusion.images.limits import UnreadableImageError
from refusion.images.video.reading import read_frames, read_header

pytest.importorskip("av")


def test_frames_come_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    # H.264 stores them in another order.
    file = encode(tmp_path / "x.mp4", frames(11), "gray", codec="libx264", pix_fmt="yuv420p", rate=12)
    read = list(read_frames(file))
    assert [number_of(frame.samples.values) for frame in read] == list(range(11))
    assert [frame.time for frame in read] == [Fraction(number, 12) for number in range(11)]
    rate, count, seconds = read_header(file)
    assert (rate, count) == (12, 11)
    assert float(seconds or 0) == pytest.approx(11 / 12, abs=1e-3)
    assert read[0].samples.values.shape == (*SIZE, 3)


def test_what_is_no_video_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all\n" * 99)
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    whole = encode(tmp_path / "whole.mp4", frames(30), "gray", codec="libx264", pix_fmt="yuv420p").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    said = {}
    for name in ("text", "empty", "pipe", "half", "none"):
        with pytest.raises(UnreadableImageError) as caught:
            list(read_frames(tmp_path / f"{name}.mp4"))
        said[name] = caught.value.what
    assert said["text"].startswith("is no video that can be read (")
    assert said["half"].startswith("is no video that can be read (")
    assert said["empty"] == "is empty"
    assert said["pipe"] == "cannot be read (it is no regular file)"
    assert said["none"] == "cannot be read (No such file or directory)"


def test_frames_have_a_limit(tmp_path: Path) -> None:
    file = encode(tmp_path / "x.mkv", frames(), "gray")
    with pytest.raises(UnreadableImageError, match=r"is too large \(48×32 pixels"):
        list(read_frames(file, 0.001))


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = encode(tmp_path / "x.mkv", frames(), "gray")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnreadableImageError, match=r"needs PyAV: pip install 'refusion-platform\[video\]'"):
        list(read_frames(file))


def test_a_turned_video_is_read_as_it_is_shown(tmp_path: Path) -> None:
    import av

    pictures = frames(3)
    with av.open(str(tmp_path / "x.mov"), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuvj420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV writes no rotation")
        stream.set_display_rotation(90)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))
    first = next(iter(read_frames(tmp_path / "x.mov"))).samples.values
    np.testing.assert_allclose(first.mean(axis=2), np.rot90(pictures[0]), atol=40)
