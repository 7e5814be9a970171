from __future__ import annotations

from dataclasses import replace

from refusion.evaluation.work_items import Scene
from refusion.images.pairs import Pair


def test_a_picture_knows_all_its_files(pairs: list[Pair]) -> None:
    own = [pairs[0].a, pairs[0].b]
    picture = Scene(pairs[0], {"ours": "/x/one.png", "theirs": "/y/one.png"})
    assert picture.files() == [*own, "/x/one.png", "/y/one.png"]
    assert replace(picture, fused={}, reference="/z/one.png").files() == [*own, "/z/one.png"]
