from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from foreign_networks import Tiny

from refusion.errors import UserError
from refusion.fuse import fuse_pair, load_module
from refusion.images.reading import read_image
from refusion.networks import FusionModule

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (2, 24, 32), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
# One per task is enough for a test of every day, the smaller of the two.
PAIRS = (
    "IVIF__roadscene_FLIR_01871",
    "MIF__harvardct_41004",
    "MIF__harvardpet_30085",
    "MFIF__savic_06",
    "MEIF__mefb_Chair",
)


@pytest.fixture(scope="module")
def module() -> FusionModule:
    torch.manual_seed(0)
    return FusionModule(width=8, heads=4, blocks=1).eval()


@pytest.fixture
def checkpoint(tmp_path: Path, module: FusionModule) -> Path:
    """A checkpoint's folder, as far as fusing looks into it."""
    safetensors.torch.save_file(module.state_dict(), str(tmp_path / "fusion.safetensors"))
    network = {"width": 8, "heads": 4, "blocks": 1, "expansion": 2, "reconstruction_width": 8}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"task": "IVIF", "network": network}))
    return tmp_path


def only(paths: Iterator[Path]) -> Path:
    (path,) = paths
    return path


@pytest.mark.parametrize("pair", PAIRS)
def test_the_authors_weights_give_the_authors_images(published: Path, shared_data: Path, pair: str) -> None:
    task, name = pair.split("__")
    a, b = (read_image(only((shared_data / task / "val" / side).glob(f"{name}.*"))) for side in "ab")
    expected = np.load(published / "expected" / f"{pair}.npz")
    # In colour where a source has any, grey as the luminance otherwise.
    whole = expected["rgb"] if "rgb" in expected else expected["luminance"]
    fused = fuse_pair(load_module(published / f"ReFusion_{task}.pth"), a, b)
    assert fused.dtype == np.uint8
    assert fused.shape == whole.shape
    difference = np.abs(fused.astype(int) - whole.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        (GREY[0], GREY[1], (24, 32)),
        (GREY[0], COLOUR[0], (24, 32, 3)),
        (COLOUR[0], GREY[0], (24, 32, 3)),
        (COLOUR[0], COLOUR[1], (24, 32, 3)),
        (np.dstack([GREY[0]] * 3), GREY[1], (24, 32)),
    ],
)
def test_the_result_has_colour_where_a_source_has(module: FusionModule, a: Any, b: Any, shape: tuple[int, ...]) -> None:
    fused = fuse_pair(module, a, b)
    assert fused.shape == shape
    assert fused.dtype == np.uint8
    if fused.ndim == 2:
        assert (fused.min(), fused.max()) == (0, 255)


def test_whole_numbers_and_floats_fuse_alike(module: FusionModule) -> None:
    as_floats = fuse_pair(module, COLOUR[0].astype(np.float64), GREY[0].astype(np.float32))
    assert np.array_equal(fuse_pair(module, COLOUR[0], GREY[0]), as_floats)


def test_the_sources_are_left_alone(module: FusionModule) -> None:
    a, b = GREY[0].copy(), COLOUR[0].copy()
    fuse_pair(module, a, b)
    assert np.array_equal(a, GREY[0])
    assert np.array_equal(b, COLOUR[0])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5)])
def test_any_size_is_fused(module: FusionModule, size: tuple[int, int]) -> None:
    assert fuse_pair(module, GREY[0][: size[0], : size[1]], GREY[1][: size[0], : size[1]]).shape == size


def test_sources_of_two_sizes_are_refused(module: FusionModule) -> None:
    with pytest.raises(UserError, match="must be of one size, but are 32×24 and 31×24 pixels"):
        fuse_pair(module, GREY[0], GREY[1][:, 1:])


@pytest.mark.parametrize("name", ["", "fusion.safetensors"])
def test_a_checkpoint_is_loaded_from_its_folder_or_file(checkpoint: Path, module: FusionModule, name: str) -> None:
    loaded = load_module(str(checkpoint / name))
    assert not loaded.training
    torch.testing.assert_close(loaded.state_dict(), module.state_dict(), rtol=0, atol=0)
    assert np.array_equal(fuse_pair(loaded, *GREY), fuse_pair(module, *GREY))


@pytest.mark.parametrize("missing", ["fusion.safetensors", "settings.yaml"])
def test_an_incomplete_checkpoint_is_refused_by_what_is_missing(checkpoint: Path, missing: str) -> None:
    (checkpoint / missing).unlink()
    with pytest.raises(UserError) as caught:
        load_module(checkpoint)
    assert str(caught.value).startswith(f"{checkpoint}: there is no {missing}; give a checkpoint folder")


@pytest.mark.parametrize("place", ["gone", "gone.pth"])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(UserError, match="there is no"):
        load_module(tmp_path / place)


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_damaged_weights_are_refused_by_the_files_name(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "fusion.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"fusion\.safetensors: cannot be read as a weight file"):
        load_module(checkpoint)


def test_weights_of_another_size_are_refused(checkpoint: Path) -> None:
    safetensors.torch.save_file(FusionModule(16, 4, 1).state_dict(), str(checkpoint / "fusion.safetensors"))
    with pytest.raises(UserError, match=r"does not hold the module that settings\.yaml describes") as caught:
        load_module(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [b"", b"- a\n", b"task: [\n", b"\xff\xfe", b"network: {width: 8}\n", b"network: {width: x, heads: 4, blocks: 1}\n"],
)
def test_settings_that_describe_no_module_are_refused_by_the_files_name(checkpoint: Path, settings: bytes) -> None:
    (checkpoint / "settings.yaml").write_bytes(settings)
    with pytest.raises(UserError, match=r"settings\.yaml: does not describe a fusion module") as caught:
        load_module(checkpoint)
    assert "\n" not in str(caught.value)


def name_network(checkpoint: Path, **network: Any) -> None:
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump({"task": "IVIF", "network": network}))


@pytest.fixture
def foreign(checkpoint: Path) -> Path:
    """A checkpoint of a class that is not ours."""
    torch.manual_seed(0)
    safetensors.torch.save_file(Tiny(3).state_dict(), str(checkpoint / "fusion.safetensors"))
    name_network(checkpoint, kind="foreign_networks:Tiny", options={"width": 3})
    return checkpoint


@pytest.mark.parametrize("trust", [True, ["foreign_networks:Tiny"], ("other:Net", "foreign_networks:Tiny")])
def test_a_network_that_is_trusted_is_loaded_and_fuses_whole_pictures(foreign: Path, trust: Any) -> None:
    loaded = load_module(foreign, trust_code=trust)
    assert isinstance(loaded, Tiny)
    assert not loaded.training
    torch.manual_seed(0)
    assert np.array_equal(fuse_pair(loaded, *GREY), fuse_pair(Tiny(3).eval(), *GREY))
    assert fuse_pair(loaded, GREY[0][:7, :5], COLOUR[1][:7, :5]).shape == (7, 5, 3)


@pytest.mark.parametrize("trust", [False, [], ["foreign_networks"], ["foreign_networks:Strided"], "foreign_networks:T"])
def test_a_network_that_is_not_trusted_is_refused_by_the_files_name(foreign: Path, trust: Any) -> None:
    with pytest.raises(UserError) as caught:
        load_module(foreign, trust_code=trust)
    assert str(caught.value).startswith(f"{foreign}/settings.yaml: its network is foreign_networks:Tiny, code from")
    assert "--network.kind foreign_networks:Tiny or --trust-code" in str(caught.value)


def test_code_that_is_not_trusted_is_never_imported(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_trap.py").write_text("open('sprung', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name_network(checkpoint, kind="users_trap:Net")
    for trust in (False, ["users_other:Net"]):
        with pytest.raises(UserError, match="is not run unasked"):
            load_module(checkpoint, trust_code=trust)
    assert not (tmp_path / "sprung").exists()
    # The other two modules, the loss and the reward are no part of fusing, whoever is trusted.
    sizes = {"width": 8, "heads": 4, "blocks": 1, "expansion": 2}
    others = {"loss_proposal_kind": "users_trap:P", "reconstruction_kind": "users_trap:R"}
    content = {"network": sizes | others, "objective": {"kind": "users_trap:loss", "reward": "users_trap:reward"}}
    (checkpoint / "settings.yaml").write_text(yaml.safe_dump(content))
    assert isinstance(load_module(checkpoint, trust_code=True), FusionModule)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_class_of_a_network_is_not_called_even_when_trusted(checkpoint: Path, tmp_path: Path) -> None:
    name_network(checkpoint, kind="os:system", options={"command": f"touch {tmp_path / 'ran'}"})
    for trust in (True, ["os:system"]):
        with pytest.raises(UserError, match="os:system: is no class of torch"):
            load_module(checkpoint, trust_code=trust)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", [3, ["a"], None, "unet", {"a": 1}])
def test_a_kind_that_is_no_import_path_is_refused(checkpoint: Path, kind: Any) -> None:
    name_network(checkpoint, kind=kind)
    with pytest.raises(UserError, match=r"settings\.yaml: does not describe a fusion module"):
        load_module(checkpoint, trust_code=True)


def test_weights_and_pictures_that_are_not_finite_are_refused_in_a_sentence(tmp_path: Path) -> None:
    module = FusionModule(width=8, blocks=1)
    with torch.no_grad():
        next(module.parameters()).fill_(torch.inf)
    network = {"width": 8, "heads": 8, "blocks": 1, "expansion": 2}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"network": network}))
    weights = FusionModule(**network).state_dict()
    name = list(weights)[3]
    weights[name].view(-1)[0] = torch.nan
    safetensors.torch.save_file(weights, str(tmp_path / "fusion.safetensors"))
    with pytest.raises(UserError, match=rf"fusion\.safetensors: {name} holds numbers that are not finite"):
        load_module(tmp_path)
    picture = np.arange(48 * 48, dtype=np.uint8).reshape(48, 48)
    with pytest.raises(UserError, match="numbers of it that are not finite"):
        fuse_pair(module, picture, picture.T)
