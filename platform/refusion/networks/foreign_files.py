"""Facts about files that are given as weights and are none: web pages, Git LFS pointers, pictures, archives."""

from __future__ import annotations

from pathlib import Path

_GET_AGAIN = "download the file itself"

# First bytes of a file, and what it then is.
_BEGINNINGS = (
    (b"version https://git-lfs", f"is a Git LFS pointer, not the file: fetch it by `git lfs pull`, or {_GET_AGAIN}"),
    (b"\x89PNG", "is a PNG picture"),
    (b"\xff\xd8\xff", "is a JPEG picture"),
    (b"GIF8", "is a GIF picture"),
    (b"II*\x00", "is a TIFF picture"),
    (b"MM\x00*", "is a TIFF picture"),
    (b"%PDF", "is a PDF document"),
    (b"\x89HDF", "is an HDF5 file, as of Keras or MATLAB: convert it to a PyTorch state_dict"),
    (b"\x93NUMPY", "is a NumPy array: save the state_dict by torch.save"),
    (b"\x1f\x8b", "is compressed by gzip: unpack it first"),
    (b"BZh", "is compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "is compressed by xz: unpack it first"),
    (b"7z\xbc\xaf", "is a 7z archive: unpack it first"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"GGUF", "is a GGUF file of a language model"),
    (b"\x7fELF", "is a program"),
)
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")
_TAR_AT, _TAR = 257, b"ustar"
_SAFETENSORS_LENGTH = 8


def what_it_is(head: bytes, path: Path) -> str | None:
    """Returns the rest of a sentence on a file that holds no weights, or None for one that may.

    Args:
        head: its first bytes, some thousand of them.
        path: for the size that the sentence tells.

    >>> what_it_is(b"<!DOCTYPE html><html><title>Sign in", Path("weights.pth"))
    'is a web page (HTML), as a link gives that asks to sign in or to confirm: download the file itself'
    """
    if not head.strip(b"\0"):
        return "is empty" if not head else "holds nothing but zeros, as a download does that was cut off"
    if head.lstrip().lower().startswith(_PAGES):
        return f"is a web page (HTML), as a link gives that asks to sign in or to confirm: {_GET_AGAIN}"
    for beginning, what in _BEGINNINGS:
        if head.startswith(beginning):
            return what
    if head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        return "is a tar archive: unpack it first"
    if _is_text(head):
        first = head.decode(errors="replace").strip().splitlines()[0][:60]
        return f"is a text file of {path.stat().st_size} bytes that begins {first!r}: {_GET_AGAIN}"
    return None


def _is_text(head: bytes) -> bool:
    if len(head) > _SAFETENSORS_LENGTH and b"\0" in head:
        return False
    try:
        return head.decode().isprintable() or all(char.isprintable() or char.isspace() for char in head.decode())
    except UnicodeDecodeError:
        return False
