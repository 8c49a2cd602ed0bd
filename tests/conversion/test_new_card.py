"""zoo new: a first card has all fields that can be measured, and it verifies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, RunZoo

OPTIONS = ("--option", "num_classes=10", "--option", "channels=[8, 16, 24, 32]", "--option", "stem_width=8")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "mine.safetensors"
    shutil.copy(next((ROOT / "cards" / "digits").glob("*.safetensors")), file)
    return file


def test_a_new_card_has_measured_fields_and_verifies(run_zoo: RunZoo, weights: Path) -> None:
    ran = run_zoo("new", "mine", "--weights", weights, "--builder", "timm:resnest14d", *OPTIONS)
    assert ran.code == 0, ran.err
    assert ran.out == f"{weights.parent / 'mine.yaml'}\n"
    card_data = json.loads(run_zoo("show", "mine", "--cards", weights.parent, "--format", "json").out)["card"]
    assert card_data["claims"]["params"] == {"value": 64482, "origin": "computed"}
    assert card_data["weights"][0]["size_bytes"] == weights.stat().st_size
    assert card_data["weights"][0]["dtype"] == "float32" and card_data["weights"][0]["format"] == "safetensors"
    verified = run_zoo("verify", "mine", "--cards", weights.parent, "--format", "json")
    assert verified.code == 0
    assert {finding["status"] for finding in json.loads(verified.out)["findings"]} == {"ok"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--builder", "timm:resnest14d"), 1, "do not fit the architecture"),
        (("--builder", "timm:resnest14x", *OPTIONS), 1, "did you mean 'resnest14d'"),
        (("--builder", "tim:resnest14d", *OPTIONS), 2, "did you mean 'timm'?"),
        (("--builder", "resnest14d", *OPTIONS), 2, "not a builder: resnest14d"),
        (("--builder", "timm:resnest14d", "--option", "num_classes=[10"), 2, "num_classes=[10"),
        (("--builder", "timm:resnest14d", "--option", "nonsense=1"), 1, "correct `options`"),
    ],
)
def test_arguments_that_do_not_fit_are_errors_and_nothing_is_written(
    arguments: tuple[str, ...], code: int, message: str, run_zoo: RunZoo, weights: Path
) -> None:
    ran = run_zoo("new", "mine", "--weights", weights, *arguments)
    assert ran.code == code and message in ran.err
    assert [path.name for path in weights.parent.iterdir()] == [weights.name]


def test_an_existing_card_is_not_overwritten(run_zoo: RunZoo, weights: Path) -> None:
    card = weights.parent / "mine.yaml"
    card.write_text("name: mine\n")
    ran = run_zoo("new", "mine", "--weights", weights, "--builder", "timm:resnest14d", *OPTIONS)
    assert ran.code == 2 and "the file already exists" in ran.err
    assert card.read_text() == "name: mine\n"


def test_a_name_with_a_path_in_it_is_rejected(run_zoo: RunZoo, weights: Path) -> None:
    ran = run_zoo("new", "../mine", "--weights", weights, "--builder", "timm:resnest14d", *OPTIONS)
    assert ran.code == 2 and "is not a valid value for 'name': the model's name" in ran.err


def test_a_missing_file_is_a_usage_error(run_zoo: RunZoo, tmp_path: Path) -> None:
    ran = run_zoo("new", "mine", "--weights", tmp_path / "none.pth", "--builder", "timm:resnest14d")
    assert ran.code == 2 and "file not found" in ran.err
