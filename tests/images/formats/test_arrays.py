from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refusion.images.formats import decode_samples
from refusion.images.limits import UnreadableImageError


def _npy(values: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "<f2", ">f4", "f8", "i2"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 1)])
def test_arrays_come_back(dtype: str, shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    found = decode_samples(_npy(np.asfortranarray(values)), Path("x.npy"), 1)
    np.testing.assert_array_equal(found.values, values[..., 0] if shape[-1] == 1 else values)
    assert found.values.dtype.isnative


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (_npy(np.zeros((4, 5, 4))), "shape"),
        (_npy(np.zeros(9)), "shape"),
        (_npy(np.zeros((4, 5), complex)), "type complex128"),
        (_npy(np.zeros((4, 5), bool)), "type bool"),
        (_npy(np.array([[{}]], object), allow_pickle=True), "type object"),
        (_npy(np.zeros((4, 5)))[:-1], "truncated"),
        (_npy(np.zeros((4, 5)))[:40], "damaged"),
        (_npy(np.zeros((4, 5))).replace(b"(4, 5)", b"(99999, 99999)"), "damaged|too large"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, why: str) -> None:
    with pytest.raises(UnreadableImageError, match=why):
        decode_samples(data, Path("x.npy"), 1)
