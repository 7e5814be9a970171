from __future__ import annotations

from pathlib import Path

import pytest

from refusion.baselines import BASELINES
from refusion.cli.evaluate import read_request
from refusion.errors import UserError
from refusion.evaluation.request import Request
from refusion.metrics import CATALOGUE, CONVENTIONS

SOURCES = ["--task", "IVIF", "--data", "builtin", "--out", "out.csv"]


def test_the_plainest_request() -> None:
    expected = Request([("baseline", "average")], "IVIF", Path("out.csv"), data="builtin")
    assert read_request(["--baseline", "average", *SOURCES]) == expected


def test_methods_keep_the_order_of_the_command_line() -> None:
    given = ["--fused", "x", "--checkpoint", "y.pth", "--baseline", "max", "--fused=ours=z"]
    assert read_request([*given, *SOURCES]).methods == [
        ("fused", "x"),
        ("checkpoint", "y.pth"),
        ("baseline", "max"),
        ("fused", "ours=z"),
    ]
    assert read_request(["--fused", "x", *SOURCES]).methods == [("fused", "x")]


def test_all_options() -> None:
    text = (
        "--fused f --task mif --a a --b b --out o.csv --metrics EN SSIM --convention authors --reference r "
        "--align crop --format latex --save s --experiment e --tracking-uri u --workers 3 --gpu --seed 4"
    )
    assert read_request(text.split()) == Request(
        methods=[("fused", "f")],
        task="mif",
        out=Path("o.csv"),
        a=Path("a"),
        b=Path("b"),
        metrics=["EN", "SSIM"],
        convention="authors",
        reference=Path("r"),
        align="crop",
        format="latex",
        save=Path("s"),
        experiment="e",
        tracking_uri="u",
        workers=3,
        gpu=True,
        seed=4,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "IVIF", "--out", "o"], "either --a DIR and --b DIR, or --data"),
        (["--task", "IVIF", "--out", "o", "--a", "x"], "either --a DIR and --b DIR, or --data"),
        ([*SOURCES, "--a", "x"], "either --a DIR and --b DIR, or --data"),
        ([*SOURCES, "--a", "x", "--b", "y"], "either --a DIR and --b DIR, or --data"),
        (["--task", "IVIF", "--out", "o", "--a", "x", "--b", "y", "--split", "test"], "--split goes with --data"),
        ([*SOURCES, "--tracking-uri", "sqlite:///x.db"], "--tracking-uri goes with --experiment"),
        ([*SOURCES, "--workers", "0"], "--workers.*1 or more"),
        ([*SOURCES, "--workers", "two"], "--workers.*whole number"),
        ([*SOURCES, "--align", "scale"], "--align.*crop"),
        ([*SOURCES, "--format", "word"], "--format.*latex"),
        (["--data", "builtin", "--out", "o"], "--task"),
        (["--data", "builtin", "--task", "IVIF"], "--out"),
        ([*SOURCES, "--outt", "x"], "--outt"),
    ],
)
def test_requests_that_cannot_be_understood(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_request(["--baseline", "average", *arguments])
    assert "\n" not in str(caught.value)


def test_a_model_of_mlflow_needs_its_store_without_an_experiment() -> None:
    request = read_request(["--checkpoint", "models:/refusion-IVIF@best", *SOURCES, "--tracking-uri", "http://x"])
    assert (request.tracking_uri, request.experiment) == ("http://x", None)


def test_help_lists_baselines_conventions_and_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_request(["--help"], "Score fused pictures.")
    text = capsys.readouterr().out
    assert text.split("Score fused pictures.")[0].startswith("usage:")
    for name in (*BASELINES, *CONVENTIONS, *CATALOGUE):
        assert f"  {name}: " in text or f"  {name} " in text
