"""Miniature data sets, in the folders and names that the public ones have as they are downloaded."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from refusion.images.writing import write_image


@dataclass(frozen=True)
class Miniature:
    """A data set in small: its task, files of a and b by split (None: it has none), and other files that it has."""

    task: str
    pairs: dict[str | None, Sequence[tuple[str, str]]]
    others: Sequence[str] = field(default=())


def _sides(template: str, a: str, b: str, names: Sequence[str]) -> list[tuple[str, str]]:
    return [(template.format(side=a, name=name), template.format(side=b, name=name)) for name in names]


_SLICES = ("25017", "25018", "30105", "30106", "41036")

MINIATURES: dict[str, Miniature] = {
    "MSRS": Miniature(
        "IVIF",
        {
            split: _sides(f"MSRS-main/{split}/{{side}}/{{name}}.png", "ir", "vi", names)
            for split, names in (("train", ("00001D", "00002N", "00631D")), ("test", ("00004N", "00537D")))
        },
        [
            "MSRS-main/train/Segmentation_labels/00001D.png",
            "MSRS-main/detection/ir/1.png",
            "MSRS-main/detection/vi/1.png",
        ],
    ),
    "LLVIP": Miniature(
        "IVIF",
        {
            "train": _sides("LLVIP/{side}/train/{name}.jpg", "infrared", "visible", ("010001", "010002", "020003")),
            "test": _sides("LLVIP/{side}/test/{name}.jpg", "infrared", "visible", ("190001", "190002")),
        },
    ),
    "RoadScene": Miniature(
        "IVIF",
        {
            None: [
                (f"RoadScene-master/cropinfrared/{name}.jpg", f"RoadScene-master/crop_LR_visible/{name}.jpg")
                for name in ("FLIR_00006", "FLIR_00018", "FLIR_04269", "FLIR_video_03237")
            ]
        },
        ["RoadScene-master/crop_HR_visible/FLIR_00006.jpg"],
    ),
    "TNO": Miniature("IVIF", {None: [(f"TNO21/IR{n}.png", f"TNO21/VIS{n}.png") for n in range(1, 5)]}),
    "TNO folders": Miniature("IVIF", {None: _sides("TNO/{side}/{name}.png", "ir", "vi", ("01", "05", "37"))}),
    "TNO scenes": Miniature(
        "IVIF",
        {
            None: [
                (
                    "TNO_Image_Fusion_Dataset/Athena_images/2_men_in_front_of_house/IR_meting003_g.bmp",
                    "TNO_Image_Fusion_Dataset/Athena_images/2_men_in_front_of_house/VIS_meting003_r.bmp",
                ),
                (
                    "TNO_Image_Fusion_Dataset/Triclobs_images/Bosnia/LWIR.tif",
                    "TNO_Image_Fusion_Dataset/Triclobs_images/Bosnia/Vis.tif",
                ),
                (
                    "TNO_Image_Fusion_Dataset/FEL_images/Nato_camp_sequence/thermal/1807i.bmp",
                    "TNO_Image_Fusion_Dataset/FEL_images/Nato_camp_sequence/visual/1807v.bmp",
                ),
            ]
        },
        ["TNO_Image_Fusion_Dataset/Triclobs_images/Bosnia/NIR.tif"],
    ),
    "M3FD": Miniature(
        "IVIF", {None: _sides("M3FD_Fusion/{side}/{name}.png", "Ir", "Vis", ("00000", "00007", "00471"))}
    ),
    "VIFB": Miniature(
        "IVIF",
        {None: _sides("VIFB-master/input/{side}/{name}.jpg", "IR", "VI", ("carLight", "fight", "walking2"))},
        ["VIFB-master/fused_images/carLight_CBF.jpg", "VIFB-master/dataset.jpg"],
    ),
    **{
        f"Harvard {kind}–MRI": Miniature(
            "MIF",
            {
                None: _sides(
                    f"Havard-Medical-Image-Fusion-Datasets-main/{kind}-MRI/{{side}}/{{name}}.png", kind, "MRI", _SLICES
                )
            },
        )
        for kind in ("CT", "PET", "SPECT")
    },
    "Lytro": Miniature(
        "MFIF",
        {None: _sides("LytroDataset/lytro-{name}-{side}.jpg", "A", "B", ("01", "02", "20"))},
        ["LytroDataset/lytro-01-C.jpg"],
    ),
    "MFFW": Miniature(
        "MFIF", {None: _sides("MFFW/input/mffw_{name}/mffw_{name}_{side}.jpg", "A", "B", ("01", "02", "08"))}
    ),
    "MFI-WHU": Miniature(
        "MFIF",
        {None: _sides("MFI-WHU/{side}/{name}.jpg", "source_1", "source_2", ("1", "2", "30"))},
        ["MFI-WHU/full_clear/1.jpg"],
    ),
    "Real-MFF": Miniature(
        "MFIF",
        {None: [(f"Real-MFF/imageA/{n}_A.png", f"Real-MFF/imageB/{n}_B.png") for n in ("001", "002", "709")]},
        ["Real-MFF/Fusion/001_F.png"],
    ),
    "MEFB": Miniature(
        "MEIF",
        {None: _sides("MEFB-master/input/{name}/{name}_{side}.tif", "A", "B", ("507", "Chair", "YellowHall"))},
        ["MEFB-master/output/507_Mertens.png"],
    ),
    "SICE": Miniature(
        "MEIF",
        {
            None: [
                (f"SICE/Dataset_Part1/{n}/1.JPG", f"SICE/Dataset_Part1/{n}/{last}.JPG") for n, last in ((1, 7), (2, 10))
            ]
        },
        ["SICE/Dataset_Part1/1/4.JPG", "SICE/Dataset_Part1/2/9.JPG", "SICE/Dataset_Part1/Label/1.JPG"],
    ),
}


def write_picture(path: Path, shape: tuple[int, ...] = (48, 56)) -> None:
    """Writes a picture that no other file of another name has, of large random blocks."""
    random = np.random.default_rng(zlib.crc32(str(path).encode()))
    blocks = random.integers(0, 256, (shape[0] // 8, shape[1] // 8, *shape[2:]), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.ascontiguousarray(blocks.repeat(8, 0).repeat(8, 1))
    if path.suffix.lower() == ".png":
        write_image(path, picture)
    else:
        from PIL import Image

        Image.fromarray(picture).save(path)


def write_miniature(root: Path, name: str) -> Miniature:
    """Writes a miniature below a folder, and returns it."""
    mini = MINIATURES[name]
    for pairs in mini.pairs.values():
        for pair in pairs:
            for file in pair:
                write_picture(root / file)
    for file in mini.others:
        write_picture(root / file)
    return mini
