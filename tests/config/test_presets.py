from __future__ import annotations

from pathlib import Path

import pytest

from refusion.config import presets
from refusion.config.layers import check, for_task, leaves, merge
from refusion.config.network import NetworkSettings
from refusion.config.presets import preset_names, read_config, read_preset, recorded_settings, settings_file
from refusion.config.settings import Settings
from refusion.errors import UserError
from refusion.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
# Sections that decide what is computed.
COMPUTED = ("schedule", "outer", "objective", "meta", "images", "network")
# They decide what memory is used and when a training gives up, or hold what only networks of a user's own take.
LEFT_OUT = {
    "images.cache_mb",
    "images.device_cache_mb",
    "schedule.max_skipped",
    "network.options",
    "network.loss_proposal_options",
    "network.reconstruction_options",
}


@pytest.mark.parametrize("name", ["quick", "standard", "published", "sweep-schedules", "sweep-pbt"])
def test_a_preset_is_found_by_its_name(name: str) -> None:
    assert settings_file(Path(name)) == ROOT / "jobs" / "presets" / f"{name}.yaml"


def test_an_installation_finds_them_where_it_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_FOLDERS", (tmp_path / "jobs", tmp_path / "share"))
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "quick.yaml").touch()
    assert settings_file(Path("quick")) == tmp_path / "share" / "quick.yaml"


def test_a_path_stays_one_even_where_it_has_a_presets_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quick").touch()
    for given in ("quick", "my.yaml", "folder/quick", "unknown"):
        assert settings_file(Path(given)) == Path(given)


def test_the_names_are_those_of_settings_not_of_sweep_files() -> None:
    assert {"published", "quick", "standard"} <= set(preset_names())
    assert not any(name.startswith("sweep") for name in preset_names())


@pytest.mark.parametrize("name", preset_names())
def test_each_is_valid(name: str) -> None:
    tasks = check([read_preset(name)]).tasks
    assert tasks == ((name.upper(),) if name.upper() in TASKS else Settings().tasks)


@pytest.mark.parametrize("task", TASKS)
def test_a_tasks_own_preset_trains_it_as_results_does(task: str) -> None:
    own, results = (for_task(check([read_preset(name)]), task) for name in (task.lower(), "results"))
    assert own == results.model_copy(update={"tasks": (task,)})


def test_standard_trains_as_results_does_and_only_measures_more_often() -> None:
    standard, results = (check([read_preset(name)]) for name in ("standard", "results"))
    assert standard.validation != results.validation
    assert standard.validation.every == 1
    for task in Settings().tasks:
        ours, theirs = (for_task(settings, task) for settings in (standard, results))
        assert ours.model_copy(update={"validation": theirs.validation, "per_task": {}}) == theirs.model_copy(
            update={"per_task": {}}
        )
        assert isinstance(ours.validation.images, int)  # scores of all epochs compare


def test_a_presets_own_settings_go_over_those_of_the_one_it_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presets, "_FOLDERS", (tmp_path, tmp_path / "share"))
    (tmp_path / "base.yaml").write_text("images: {crop: 24, batch: 4}")
    (tmp_path / "own.yaml").write_text("preset: base\nimages: {crop: 48}")
    assert read_preset("own") == {"images": {"crop": 48, "batch": 4}}


def test_a_file_may_begin_with_a_preset_as_presets_do(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("preset: quick\nimages: {crop: 40}")
    assert read_config(own) == merge(read_preset("quick"), {"images": {"crop": 40}})
    assert read_config(Path("mfif")) == read_preset("mfif")
    own.write_text("preset: none")
    with pytest.raises(UserError, match="--preset none: there is no such preset"):
        read_config(own)


def test_a_checkouts_preset_goes_before_an_installed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "_FOLDERS", (tmp_path / "jobs", tmp_path / "share"))
    for folder, crop in (("jobs", 24), ("share", 48)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "quick.yaml").write_text(f"images: {{crop: {crop}}}")
    assert read_preset("quick") == {"images": {"crop": 24}}
    (tmp_path / "jobs" / "quick.yaml").unlink()
    assert read_preset("quick") == {"images": {"crop": 48}}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("quik", "--preset quik: there is no such preset: choose from "),
        ("sweep-quick", "--preset sweep-quick: is a sweep file; give it to jobs/sweep.py as --config sweep-quick"),
    ],
)
def test_other_names_are_refused(name: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        read_preset(name)
    assert str(refused.value).startswith(sentence)


def test_published_names_every_setting_that_decides_what_is_computed() -> None:
    """So that it means the same whatever the defaults become."""
    named = read_preset("published")
    wanted = {name for name, _ in leaves(Settings) if name.partition(".")[0] in COMPUTED} - LEFT_OUT
    assert len(wanted) > 25
    missing = [name for name in wanted if name.partition(".")[2] not in named.get(name.partition(".")[0], {})]
    assert not missing, f"jobs/presets/published.yaml must say what {sorted(missing)} was when it was published"
    assert "precision" in named


def test_published_is_the_published_network_and_schedule() -> None:
    settings = check([read_preset("published")], check([{"schedule": {"rate": {"kind": "cosine", "value": 1.0}}}]))
    assert settings.network == NetworkSettings(
        width=16,
        reconstruction_width=32,
        output="image",
        equivariant=False,
        prior="none",
        reconstruction_from_fused=False,
    )
    schedule, outer, objective, images = settings.schedule, settings.outer, settings.objective, settings.images
    assert (schedule.epochs, schedule.meta_iterations, schedule.fusion_steps) == (50, 600, None)
    assert [schedule.rate_at(epoch) for epoch in (0, 10, 49)] == pytest.approx([1e-4, 1e-5, 1e-8])
    assert [schedule.inner_rate_at(epoch) for epoch in (0, 10, 49)] == pytest.approx([1e-4, 1e-5, 1e-8])
    assert [schedule.inner_steps_at(epoch) for epoch in (0, 49)] == [1, 1]
    assert (outer.kind, outer.accumulate, outer.ratio) == ("normalised", 2, 1.0)
    assert (objective.kind, objective.reward, objective.gradient) == ("published", "published", "learned")
    assert [objective.beta_at(epoch, 50) for epoch in (0, 49)] == pytest.approx([0.02, 1.0])
    assert (images.crop, images.subset, images.batch, images.swap) == (128, None, 2, True)


def test_what_a_record_does_not_name_was_as_published() -> None:
    recorded = {"task": "MIF", "images": {"crop": 32}, "per_task": {"MIF": {"images": {"batch": 4}}}}
    settings = recorded_settings(recorded)
    assert settings == check([read_preset("published"), {"images": {"crop": 32}, "per_task": recorded["per_task"]}])
    whole = check([{"schedule": {"rate": {"kind": "cosine", "value": 1e-3}, "inner_steps": {"start": 1, "end": 3}}}])
    assert recorded_settings(whole.model_dump(mode="json")) == whole
