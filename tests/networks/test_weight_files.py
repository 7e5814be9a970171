"""Files that hold no weights are named for what they are; none is ever unpickled with code, or trusted in its sizes."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import pytest
import safetensors.torch
import torch

from refusion.errors import UserError
from refusion.networks.weight_files import read_tensors


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\0" * 9000, "holds nothing but zeros"),
        (b"<!DOCTYPE html><html><head><title>Google Drive", r"is a web page \(HTML\)"),
        (b"\n  <HTML>\n", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 281203\n", "is a Git LFS pointer"),
        (b'{"message": "Not Found"}', 'is a text file of 24 bytes that begins \'{"message"'),
        (b"not a weight file", "is a text file"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a PNG picture"),
        (b"\x1f\x8b\x08\0\0\0", "is compressed by gzip"),
        (b"PK\x03\x04 half a zip file\0\xff", "is half a download"),
        (b"\x80\x02garbage\xff", "is damaged|no weights"),
        (b"\0" * 257 + b"ustar" + b"\0" * 250, "is a tar archive"),
    ],
)
def test_what_is_no_weight_file(tmp_path: Path, content: bytes, what: str) -> None:
    path = written(tmp_path / "weights.pth", content)
    with pytest.raises(UserError, match=rf"weights\.pth: cannot be read as a weight file: .*({what})") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_half_a_download(tmp_path: Path, legacy: bool, part: float) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"a": torch.rand(40, 40)}, whole, _use_new_zipfile_serialization=not legacy)
    content = whole.read_bytes()
    half = written(tmp_path / "half.pth", content[: int(part * len(content))])
    with pytest.raises(UserError, match=r"half\.pth: cannot be read.*(half a download|damaged)") as caught:
        read_tensors(half)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", [4, 100, 1])
def test_half_a_download_of_safetensors(tmp_path: Path, cut: int) -> None:
    safetensors.torch.save_file({"a": torch.rand(40, 40)}, tmp_path / "whole.safetensors")
    half = written(tmp_path / "half.safetensors", (tmp_path / "whole.safetensors").read_bytes()[:-cut])
    with pytest.raises(UserError, match="begins as safetensors but is damaged or half a download"):
        read_tensors(half)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_never_run(tmp_path: Path, legacy: bool) -> None:
    content = {"a": torch.ones(2), "extra": Trap(tmp_path / "sprung")}
    torch.save(content, tmp_path / "weights.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match=r"it wants to run \S+, and code in a file is never run"):
        read_tensors(tmp_path / "weights.pth")
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_an_archive_without_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("README.md", "see the other file")
    with pytest.raises(UserError, match=r"is a ZIP archive without weights \(README\.md\)"):
        read_tensors(tmp_path / "weights.pth")


def test_a_torchscript_program(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)).save(str(tmp_path / "weights.pt"))
    with pytest.raises(UserError, match="is a TorchScript program"):
        read_tensors(tmp_path / "weights.pt")


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    with pytest.raises(UserError, match=r"bomb\.pth: .*it declares 400\d+ bytes but has \d+"):
        read_tensors(tmp_path / "bomb.pth")


@pytest.mark.parametrize("shape", [[10**15], [10**6, 10**9], [2**62, 4]])
def test_a_declared_size_that_cannot_be_allocated_in_safetensors(tmp_path: Path, shape: list[int]) -> None:
    numbers = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, numbers]}}).encode()
    path = written(tmp_path / "weights.safetensors", struct.pack("<Q", len(header)) + header + b"\0" * 64)
    with pytest.raises(UserError, match=r"weights\.safetensors: cannot be read.*its header does not fit") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def test_a_header_longer_than_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "weights.safetensors", struct.pack("<Q", 2**63) + b"{" + b"\0" * 64)
    with pytest.raises(UserError, match="its header does not fit its 73 bytes"):
        read_tensors(path)


def test_a_declared_size_that_cannot_be_allocated_in_an_old_file(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1_000_003)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "old.pth").read_bytes()
    assert content.count(struct.pack("<I", 1_000_003)) >= 1
    path = written(tmp_path / "bad.pth", content.replace(struct.pack("<I", 1_000_003), struct.pack("<I", 0x7FFFFFF0)))
    with pytest.raises(UserError, match=r"bad\.pth: (cannot be read|is damaged)") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
