"""Every named data set is recognised as it is downloaded, from any level up, and so are its flawed siblings."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from data_sets.miniatures import MINIATURES, write_miniature, write_picture

from refusion.config.arrangement import Arrangement, parse_division
from refusion.config.ranges import Reading
from refusion.errors import UserError
from refusion.images.dataset import check_pairs, tasks_of
from refusion.images.layouts import ALL, arrange, tasks_recognised
from refusion.images.layouts.table import PUBLIC
from refusion.images.pair_check import check_sources, find_and_check


def files_of(arranged: object) -> set[tuple[str, str]]:
    matched, names = arranged.matched, arranged.names  # type: ignore[attr-defined]
    return {(names[a], names[b]) for _, a, b in matched.pairs}


def test_every_row_of_public_sets_has_a_miniature() -> None:
    named = {name.removesuffix(" folders").removesuffix(" scenes") for name in MINIATURES}
    assert {layout.name for layout in PUBLIC} - named == {"MFIFB"}


@pytest.mark.parametrize("name", MINIATURES)
@pytest.mark.parametrize("level", ["above", "itself", "upper case"])
def test_a_public_data_set(tmp_path: Path, name: str, level: str) -> None:
    mini = write_miniature(tmp_path / "sets" / "downloads", name)
    root = tmp_path / "sets" if level == "above" else next((tmp_path / "sets" / "downloads").iterdir())
    if level == "upper case":
        for file in [file for file in root.rglob("*") if file.is_file()]:
            file.rename(file.with_suffix(file.suffix.upper()))
    assert tasks_recognised(root) == [mini.task]
    for split, expected in mini.pairs.items():
        asked = {None: ALL, "test": "val"}.get(split, split)
        arranged = arrange(root, mini.task, str(asked))
        assert arranged is not None
        assert arranged.matched.problems == []
        base = tmp_path / "sets" / "downloads"
        wanted = {tuple(str((base / file).relative_to(root)) for file in pair) for pair in expected}
        found = files_of(arranged)
        if level == "upper case":
            wanted, found = ({tuple(file.lower() for file in pair) for pair in pairs} for pairs in (wanted, found))
        assert found == wanted
        title = name.removesuffix(" folders").removesuffix(" scenes")
        assert f"{len(expected)} of {title}: a from" in arranged.said or name == "TNO scenes"
        assert ("its test split" in arranged.said) == (split == "test")


@pytest.mark.parametrize("name", MINIATURES)
def test_a_missing_partner_is_told(tmp_path: Path, name: str) -> None:
    mini = write_miniature(tmp_path, name)
    pairs = next(iter(mini.pairs.values()))
    (tmp_path / pairs[0][1]).unlink()
    split = next(iter(mini.pairs)) or ALL
    arranged = arrange(tmp_path, mini.task, split)
    assert arranged is not None
    if name == "SICE":
        # The last exposure that is left is the longest.
        assert {b for _, b in files_of(arranged)} == {"SICE/Dataset_Part1/1/4.JPG", pairs[1][1]}
        return
    assert len(arranged.matched.pairs) == len(pairs) - 1
    assert [(p.file, p.kind) for p in arranged.matched.problems] == [(pairs[0][0], "no partner")]


@pytest.mark.parametrize("name", MINIATURES)
def test_another_suffix_on_one_side(tmp_path: Path, name: str) -> None:
    mini = write_miniature(tmp_path, name)
    for pairs in mini.pairs.values():
        for a, _ in pairs:
            (tmp_path / a).rename((tmp_path / a).with_suffix(".pgm"))
    split = next(iter(mini.pairs)) or ALL
    arranged = arrange(tmp_path, mini.task, split)
    assert arranged is not None
    assert len(arranged.matched.pairs) == len(mini.pairs[next(iter(mini.pairs))])
    assert arranged.matched.problems == []


def test_several_data_sets_below_one_folder_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("Harvard CT–MRI", "Harvard PET–MRI", "Harvard SPECT–MRI"):
        write_miniature(tmp_path, name)
    arranged = arrange(tmp_path, "MIF", ALL)
    assert arranged is not None
    names = [name for name, _, _ in arranged.matched.pairs]
    assert len(names) == len(set(names)) == 15
    assert "Harvard_CT–MRI-25017" in names


def test_slices_of_one_patient_stay_together(tmp_path: Path) -> None:
    write_miniature(tmp_path, "Harvard CT–MRI")
    parts = [arrange(tmp_path, "MIF", split) for split in ("train", "val")]
    patients = [{name[-5:-3] for name, _, _ in part.matched.pairs} for part in parts if part is not None]
    assert patients[0] | patients[1] == {"25", "30", "41"}
    assert not patients[0] & patients[1]


@pytest.mark.parametrize("name", ["LytroDataset", "M3FD_Fusion", "TNO21", "own_ir_vi", "own_test_split"])
def test_the_layouts_of_public_reports(cases: Path, name: str) -> None:
    root = cases / "case06_layouts" / name
    task = {"LytroDataset": "MFIF"}.get(name, "IVIF")
    assert tasks_of(str(root)) == [task]
    checked = find_and_check(root, task, "val", reading=Reading(arrangement=Arrangement(whole=True)))
    # Both pictures of each pair of this one are the same, which the check tells.
    bad = {"same picture"} if name == "LytroDataset" else set()
    assert {problem.kind for problem in checked.problems} == bad
    assert len(checked.pairs) + len(checked.problems) == (3 if name.startswith("own") else 2)
    assert any(note.kind == "layout" and "a from" in note.what for note in checked.notes)
    assert all(pair.a != pair.b for pair in checked.pairs)


def test_a_flat_folder_given_twice_is_fused_by_its_names(cases: Path) -> None:
    folder = cases / "case06_layouts" / "TNO21"
    checked = check_sources(folder, folder, "IVIF")
    assert [(Path(pair.a).name, Path(pair.b).name) for pair in checked.pairs] == [
        ("IR1.png", "VIS1.png"),
        ("IR2.png", "VIS2.png"),
    ]


def test_a_flat_folder_whose_names_say_nothing_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_picture(tmp_path / f"{name}.png")
    with pytest.raises(UserError, match=r"a picture is never fused with itself, and these names do not tell a from b"):
        check_sources(tmp_path, tmp_path, "IVIF")


def test_own_folders_by_map_and_split(tmp_path: Path) -> None:
    for film in ("street", "wood", "shore", "hall", "yard"):
        for frame in range(3):
            for side in ("cool", "warm"):
                write_picture(tmp_path / side / f"{film}_{frame:04}.png")
    how = Arrangement(("warm", "cool"), parse_division("train=60%,val=40%"))
    reading = Reading(arrangement=how)
    [pairs] = check_pairs(str(tmp_path), ["IVIF"], skip_bad=False, reading=reading)
    assert (len(pairs.train), len(pairs.val)) == (9, 6)
    films = [{Path(pair.a).name.partition("_")[0] for pair in split} for split in (pairs.train, pairs.val)]
    assert not films[0] & films[1]
    assert all("/warm/" in pair.a and "/cool/" in pair.b for pair in pairs.train)


def test_near_duplicates_do_not_cross(tmp_path: Path) -> None:
    for number in range(6):
        for side in "ab":
            write_picture(tmp_path / side / f"x{number}.png")
            if number % 2:
                shutil.copy(tmp_path / side / f"x{number - 1}.png", tmp_path / side / f"x{number}.png")
    parts = [arrange(tmp_path, "MFIF", split) for split in ("train", "val")]
    scenes = [{int(name[1:]) // 2 for name, _, _ in part.matched.pairs} for part in parts if part is not None]
    assert scenes[0] | scenes[1] == {0, 1, 2}
    assert not scenes[0] & scenes[1]


def test_pictures_of_one_scene_are_not_divided(cases: Path) -> None:
    with pytest.raises(UserError, match=r"--split: the 2 pairs are of 1 scene"):
        arrange(cases / "case06_layouts" / "M3FD_Fusion", "IVIF", "train")


def test_map_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    write_miniature(tmp_path, "TNO")
    with pytest.raises(UserError, match=r"--map a=warm,b=cool: no pair of pictures in .* has these names"):
        arrange(tmp_path, "IVIF", "train", Arrangement(("warm", "cool")))


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    write_miniature(tmp_path, "MSRS")
    shutil.rmtree(tmp_path / "MSRS-main" / "train")
    shutil.rmtree(tmp_path / "MSRS-main" / "detection")
    with pytest.raises(UserError, match=r"no train split in .*MSRS with test\); divide what is there by --split"):
        arrange(tmp_path, "IVIF", "train")


def test_data_that_tells_no_task(tmp_path: Path) -> None:
    for side in ("a", "b"):
        write_picture(tmp_path / side / "x.png")
    with pytest.raises(UserError, match=r"there is no folder of a task in .* recognised by its names \(MSRS, LLVIP, "):
        tasks_of(str(tmp_path))
