"""The authors' weight files: they load, and give the same images; other files are refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.torch
import torch

from refusion.errors import UserError
from refusion.fuse import load_module
from refusion.networks import FusionModule, LossProposalModule, ReconstructionModule, load_published
from refusion.networks.reference import ReferenceFusionModule
from refusion.tasks import TASKS

EXPECTED = [
    ("IVIF", "msrs_00091D"),
    ("IVIF", "roadscene_FLIR_01871"),
    ("MIF", "harvardct_41004"),
    ("MIF", "harvardpet_30085"),
    ("MFIF", "mffw_02"),
    ("MFIF", "savic_06"),
    ("MEIF", "mefb_Chair"),
    ("MEIF", "mefb_Sky"),
]


def luminance(folder: Path, stem: str) -> torch.Tensor:
    """(1, 1, H, W) in [0, 1]."""
    image = cv2.imread(str(next(folder.glob(f"{stem}.*"))), cv2.IMREAD_UNCHANGED).astype(np.float32)
    if image.ndim == 3:
        image = cv2.cvtColor(np.ascontiguousarray(image[..., 2::-1]), cv2.COLOR_RGB2YCrCb)[..., 0]
    return torch.from_numpy(image / 255)[None, None]


def as_published(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The module's weights as the authors store them: each convolution by two names."""
    weights = module.state_dict()
    by_both_names = {
        name.replace(".weight", ".conv.weight"): value.clone() for name, value in weights.items() if value.ndim == 4
    }
    return {**weights, **by_both_names}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "stem"), EXPECTED)
def test_same_images_as_the_authors(shared_data: Path, published: Path, task: str, stem: str) -> None:
    module = load_published(published / f"ReFusion_{task}.pth")
    folder = shared_data / task / "val"
    sources = torch.cat((luminance(folder / "a", stem), luminance(folder / "b", stem)), dim=1)
    with torch.no_grad():
        fused = module(sources)[0, 0].numpy()
    expected = np.load(published / "expected" / f"{task}__{stem}.npz")["raw"]
    tolerance = 1e-5
    if np.abs(fused - expected).max() > tolerance:
        # In large pictures a processor's rounding shows: on some the reference is as far from the authors' images.
        reference = ReferenceFusionModule()
        reference.load_state_dict(module.state_dict())
        with torch.no_grad():
            by_reference = reference(sources)[0, 0].numpy()
        np.testing.assert_allclose(fused, by_reference, rtol=0, atol=tolerance)
        tolerance = 1.1 * np.abs(by_reference - expected).max()
    np.testing.assert_allclose(fused, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("task", TASKS)
def test_names_and_shapes_are_the_published_ones(published: Path, task: str) -> None:
    content = torch.load(published / f"ReFusion_{task}.pth", map_location="cpu", weights_only=True)
    theirs = {name: value.shape for name, value in content.items() if ".conv." not in name}
    assert {name: value.shape for name, value in FusionModule().state_dict().items()} == theirs


@pytest.mark.parametrize(
    "prefix", ["", "module.", "module.module.", "_orig_mod.", "module._orig_mod.", "model.", "net.fusion."]
)
def test_sizes_are_read_off_the_file(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(0)
    module = FusionModule(width=8, heads=4, blocks=3, expansion=1)
    path = tmp_path / "weights.pth"
    torch.save({prefix + name: value for name, value in as_published(module).items()}, path)
    loaded = load_published(path)
    sources = torch.rand(1, 2, 9, 11)
    assert not loaded.training
    assert torch.equal(loaded(sources), module(sources))


def test_copies_that_differ_are_refused(tmp_path: Path) -> None:
    weights = as_published(FusionModule(8, 4, 1))
    weights["encoder1.0.attn.qkv.conv.weight"][0] += 1
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth.*encoder1\.0\.attn\.qkv\.conv\.weight"):
        load_published(tmp_path / "weights.pth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.pth: there is no such weight file"):
        load_published(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("spoil", ["missing", "extra", "shape", "even shares", "list", "empty"])
def test_another_network_is_refused(tmp_path: Path, spoil: str) -> None:
    weights: object = FusionModule(8, 4, 1).state_dict()
    assert isinstance(weights, dict)
    if spoil == "missing":
        del weights["project_out_1.weight"]
    elif spoil == "extra":
        weights["another.weight"] = torch.zeros(1)
    elif spoil == "shape":
        weights["project_out_1.weight"] = torch.zeros(3, 8, 3, 3)
    elif spoil == "even shares":
        weights["even_below"] = torch.zeros(3)
    torch.save({"list": [1, 2], "empty": {}}.get(spoil, weights), tmp_path / "weights.pth")
    with pytest.raises(UserError, match="does not hold a fusion network"):
        load_published(tmp_path / "weights.pth")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pth.tar", ".PTH", ".Pt", ".safetensors", ".SafeTensors"])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "params", None])
@pytest.mark.parametrize("even_below", [0.0, 0.5])
def test_a_file_as_it_is_passed_around(tmp_path: Path, suffix: str, wrapper: str | None, even_below: float) -> None:
    module = FusionModule(8, 4, 1, output="mixture", even_below=even_below).eval()
    weights = {f"module._orig_mod.{name}": value for name, value in module.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix.lower() == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(
            {wrapper: weights, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}} if wrapper else weights, path
        )
    sources = torch.rand(1, 2, 9, 11)
    assert torch.equal(load_module(path)(sources), module(sources))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_half_and_double_precision(tmp_path: Path, kind: torch.dtype) -> None:
    weights = {name: value.to(kind) for name, value in FusionModule(8, 4, 1).state_dict().items()}
    torch.save(weights, tmp_path / "weights.pt")
    loaded = load_published(tmp_path / "weights.pt").state_dict()
    assert all(loaded[name].dtype is torch.float32 for name in loaded)
    assert all(torch.equal(loaded[name], value.float()) for name, value in weights.items())


def test_our_other_modules_are_named(tmp_path: Path) -> None:
    for module, what in ((ReconstructionModule(8), "reconstruction"), (LossProposalModule(8), "loss proposal")):
        safetensors.torch.save_file(module.state_dict(), tmp_path / "some.safetensors")
        with pytest.raises(UserError, match=rf"some\.safetensors: does not hold a fusion network.* its {what} module"):
            load_module(tmp_path / "some.safetensors")


def test_a_network_of_another_method_is_described(tmp_path: Path) -> None:
    others = {f"DIDF_Encoder.{name}": torch.ones(2) for name in ("patch_embed", "level1", "level2", "level3")}
    torch.save({"DIDF_Encoder": others}, tmp_path / "CDDFuse.pth")
    with pytest.raises(UserError, match=r"another network\'s 4 tensors: DIDF_Encoder\.patch_embed"):
        load_published(tmp_path / "CDDFuse.pth")


def test_sizes_that_no_memory_holds_are_refused_by_their_shapes(tmp_path: Path) -> None:
    weights = dict(FusionModule(8, 4, 1).state_dict())
    weights["encoder1.0.ffn.project_out.weight"] = torch.zeros(1).expand(1, 10**9, 1, 1)
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"weights\.pth: is damaged: it declares encoder1.*ffn.*1×1000000000×1×1"):
        load_published(tmp_path / "weights.pth")
