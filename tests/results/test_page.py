from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from refusion.cli.results_page import results_page
from refusion.errors import UserError
from refusion.evaluation.ranking import means_of
from refusion.evaluation.results import MethodScores
from refusion.metrics import METRICS
from refusion.results.ablation_table import against_learned, read_ablations
from refusion.results.page import Sources
from refusion.results.targets import TARGETS, target_table


@pytest.fixture
def sources(folder: Path) -> Sources:
    return Sources(folder, "DATA", "WEIGHTS", "results", "ours", "published")


def cells_of(part: str, row: str) -> list[str]:
    (line,) = [line for line in part.splitlines() if line.startswith(f"| {row} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_scores_have_intervals_ranks_and_the_command(sources: Sources) -> None:
    part = sources.part("scores MFIF")
    assert part is not None
    command = " ".join(part.partition("\n\n")[0].replace("\\\n", " ").split())
    assert command.startswith(
        "python jobs/evaluate.py --task MFIF --data DATA --split val --checkpoint ours=pretrained"
    )
    assert "--checkpoint published=WEIGHTS/ReFusion_MFIF.pth --baseline average" in command
    ours, average = cells_of(part, "ours"), cells_of(part, "average")
    assert ours[-2:] == ["**1.00**", "**1.00**"] and average[-2:] == ["5.00", "5.00"]
    assert re.fullmatch(r"\*\*0\.\d+\*\* \(1\)<br>\\\[0\.\d+, 0\.\d+\\\]", ours[1])
    assert all("†" in cell for cell in average[1:9])


def test_ours_is_tested_against_each_other_method(sources: Sources, methods: list[MethodScores]) -> None:
    part = sources.part("tests MFIF")
    assert part is not None
    cells = cells_of(part, "average")
    expected = (methods[0].frame["EN"] - methods[2].frame["EN"]).mean()
    assert cells[1].startswith(f"**+{expected:.3f}**") and "(p " in cells[1]


def test_targets_are_in_proportion_to_what_the_references_have(methods: list[MethodScores]) -> None:
    part = target_table("IVIF", methods, "ours", "published")
    means = means_of(methods)
    qabf = TARGETS["IVIF"][0]
    expected = 0.62 * means.loc[["max", "guided"], "Qabf"].mean() / 0.622
    assert qabf.on(means) == pytest.approx(expected)
    assert qabf.on(means.drop("max")) == 0.62
    assert cells_of(part, "Qabf not below published")[-1] == "**met**"
    worse = [MethodScores(one.name, one.convention, one.frame - 0.2 * (one.name == "ours")) for one in methods]
    cells = cells_of(target_table("IVIF", worse, "ours", "published"), "Qabf not below published")
    assert cells[-1] == "missed" and float(cells[3]) == pytest.approx(-0.1, abs=0.01)


def test_a_variant_with_fewer_seeds_is_compared_with_those_alone(folder: Path) -> None:
    rows = read_ablations([folder / "ablations.csv"])
    of_half, of_learned = ((rows["variant"] == "half") & (rows["equal"] == "steps"), rows["variant"] == "learned")
    rows.loc[of_learned & (rows["seed"] == 1), "Qabf"] += 5
    tests = against_learned(rows[~(of_half & (rows["seed"] == 1))])
    half = tests[(tests["method"] == "half") & (tests["metric"] == "Qabf")].iloc[0]
    assert half["difference"] == pytest.approx(-0.1, abs=0.01)


def test_ablations_are_tested_over_pairs_with_seeds_averaged(sources: Sources, folder: Path) -> None:
    rows = read_ablations([folder / "ablations.csv"])
    tests = against_learned(rows)
    assert set(tests["pictures"]) == {12}
    half = tests[(tests["method"] == "half") & (tests["metric"] == "Qabf")].iloc[0]
    assert half["difference"] == pytest.approx(-0.1, abs=0.01) and half["p_holm"] < 0.05
    same = tests[(tests["method"] == "only w") & (tests["metric"] == "all four")].iloc[0]
    assert same["p"] > 0.05
    part = sources.part("ablation MFIF")
    assert part is not None and "--seeds 0 1 --equal time" in part and "half 'only w'" in part
    assert "†" in cells_of(part, "half")[4] and cells_of(part, "half")[-2].startswith("+1.00 (p ")
    assert cells_of(part, "half, equal time")[-1] == "10"
    assert "±" in cells_of(part, "learned")[2] and cells_of(part, "learned")[-2] == "–"
    learning = sources.part("learning")
    assert learning is not None
    assert len(re.findall(r"^\| MFIF +\| half(, equal time)? .* \*\*yes\*\* +\|$", learning, re.MULTILINE)) == 2


def test_a_training_in_two_files_is_refused(folder: Path) -> None:
    file = folder / "ablations.csv"
    pd.read_csv(file, dtype={"name": str}).tail(12).to_csv(folder / "ablations-more.csv", index=False)
    with pytest.raises(UserError, match="MFIF only w, seed 1, stands in two files"):
        read_ablations([file, folder / "ablations-more.csv"])


def test_what_has_no_files_is_left_and_an_unknown_part_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Prose.\n<!-- table: scores MFIF -->\n<!-- end -->\n<!-- table: scores MIF -->\nold\n<!-- end -->\n"
    )
    assert results_page(["--results", str(folder), "--page", str(page)], "") == 0
    text = page.read_text()
    assert text.startswith("Prose.\n<!-- table: scores MFIF -->\n\n    python jobs/evaluate.py")
    assert "<!-- table: scores MIF -->\nold\n<!-- end -->" in text
    assert "left as they were: scores MIF" in capsys.readouterr().out
    page.write_text("<!-- table: scores XYZ -->\n<!-- end -->\n")
    with pytest.raises(UserError, match="there is no part 'scores XYZ'"):
        results_page(["--results", str(folder), "--page", str(page)], "")


def test_audits_are_summed_up_per_setting(sources: Sources, folder: Path) -> None:
    # The loss falls as quality rises, but for noise 0, where it prefers the worst.
    rows = []
    for noise, sign in ((0.0, 1), (0.1, -1)):
        for place, method in enumerate(("average", "max", "guided", "published", "a")):
            for seed in (0, 1):
                setting = {"task": "MFIF", "method": method, "digest": "1", "reward_name": "salient"}
                setting |= {"channel_noise": noise, "width": 32, "steps": 800, "batch": 8, "crop": 80}
                setting |= {"from_fused": False, "seed": seed}
                for pair in range(4):
                    scores = dict.fromkeys(METRICS, place + pair / 10)
                    rows.append(setting | scores | {"pair": str(pair), "reward": 100 + sign * place})
    table = pd.DataFrame(rows).assign(train_pairs=48, val_pairs=4)
    (folder / "audit").mkdir()
    table.to_csv(folder / "audit" / "MFIF_pairs.csv", index=False)
    table.head(4).to_csv(folder / "audit" / "again_pairs.csv", index=False)
    part = sources.part("audit")
    assert part is not None
    command = " ".join(part.partition("\n\n")[0].replace("\\\n", " ").split())
    assert "--task MFIF --data DATA --baseline max --baseline guided --checkpoint published=WEIGHTS/" in command
    assert "--reward salient --channel-noise 0.0 0.1 --width 32 --seeds 2 --steps 800" in command
    lines = [line for line in part.splitlines() if line.startswith("| MFIF ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[2:8] for row in cells] == [
        ["0", "32", "800", "2", "4", "average"],
        ["0.1", "32", "800", "2", "4", "published"],
    ]
    assert cells[0][10].startswith("-1.00") and cells[0][-1] == "missed by 1.80"
    assert cells[1][10].startswith("1.00") and cells[1][-1] == "**met**"
