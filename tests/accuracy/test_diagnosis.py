"""Planted mistakes: a card or copy that was right until one thing was changed, and whether that thing is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.helpers.digit_images import CARD, NAMES, dataset, save_digits
from tests.helpers.project import ROOT, replace_once
from zoo.accuracy.diagnosis import Cause, diagnose
from zoo.accuracy.evaluate import measure
from zoo.accuracy.intervals import Claim
from zoo.models.subject import Settings, Subject
from zoo.registry.catalog import Member, load_catalog

EACH = 18
"""Images of each class: half of the 180 are tried on, from the others labels are learned."""
INPUT = """\
input:
  size: [3, 32, 32]
  interpolation: bilinear
  crop_pct: 1.0
  mean: [0.5, 0.5, 0.5]
  std: [0.5, 0.5, 0.5]
"""


@pytest.fixture(autouse=True)
def _fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known from another test."""
    monkeypatch.setenv("ZOO_HOME", str(tmp_path / "home"))


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    """The digits model, its data as files, to plant mistakes in."""
    shutil.copytree(ROOT / "cards" / "digits", tmp_path / "zoo" / "digits")
    (tmp_path / "zoo" / "datasets").mkdir()
    (tmp_path / "zoo" / "datasets" / "digit-files.yaml").write_text(CARD.format(images=EACH * len(NAMES), more=""))
    save_digits(tmp_path / "copy", EACH)
    return tmp_path / "zoo"


def diagnosed(zoo: Path, *, accuracy: float = 0.9972) -> Cause | None:
    """The cause, after proving that the mistake costs accuracy at all."""
    catalog = load_catalog((zoo,))
    settings = Settings(device="cpu", data={"digit-files": zoo.parent / "copy"})
    subject = Subject(Member(catalog.find("resnest_digits"), catalog), settings)
    counts = measure(subject, dataset(catalog), "validation").counts
    assert counts.top1 < 0.95 * counts.images, "the planted mistake does not show"
    return diagnose(subject, dataset(catalog), "validation", Claim(accuracy, 0.00055), 1)


def name(cause: Cause | None) -> str:
    return cause.name if cause else "nothing"


def card_with(zoo: Path, old: str, new: str) -> None:
    path = zoo / "digits" / "resnest_digits.yaml"
    replace_once(path, INPUT, INPUT.replace(old, new))


def save_weights(zoo: Path, state: dict[str, torch.Tensor]) -> None:
    """Other weights in the place of the model's, the card corrected for them."""
    save_file(state, zoo / "digits" / "resnest_digits-9fd38cd8.safetensors")


def weights(zoo: Path) -> dict[str, torch.Tensor]:
    return load_file(zoo / "digits" / "resnest_digits-9fd38cd8.safetensors")


@pytest.mark.parametrize(("old", "new", "hint"), [
    ("mean: [0.5, 0.5, 0.5]", "mean: [0.0, 0.0, 0.0]", "`mean: [0.5, 0.5, 0.5]`"),
    ("  mean: [0.5, 0.5, 0.5]\n  std: [0.5, 0.5, 0.5]", "  mean: [0.485, 0.456, 0.406]\n  std: [2.0, 2.0, 2.0]",
     "`mean: [0.5, 0.5, 0.5]`"),
    ("std: [0.5, 0.5, 0.5]", "std: [0.004, 0.004, 0.004]", "`std: [0.5, 0.5, 0.5]`"),
])  # fmt: skip
def test_wrong_mean_or_std_is_named(zoo: Path, old: str, new: str, hint: str) -> None:
    card_with(zoo, old, new)
    cause = diagnosed(zoo)
    assert name(cause) == "mean and std" and cause is not None and hint in cause.hint


@pytest.mark.parametrize("crop", [0.5, 0.6])
def test_a_wrong_crop_is_named(zoo: Path, crop: float) -> None:
    card_with(zoo, "crop_pct: 1.0", f"crop_pct: {crop}")
    cause = diagnosed(zoo)
    assert name(cause) == "crop" and cause is not None and "`crop_pct: 1.0`" in cause.hint


@pytest.mark.parametrize("side", [64, 48])
def test_a_wrong_input_size_is_named(zoo: Path, side: int) -> None:
    card_with(zoo, "[3, 32, 32]", f"[3, {side}, {side}]")
    assert name(diagnosed(zoo)) == "input size"


def test_wrong_interpolation_is_named(zoo: Path) -> None:
    """Images sixteen times as large with a fifth of their pixels dead: averaging hardly sees it, `nearest` does."""
    import random

    from PIL import Image

    numbers = random.Random(0)
    for path in sorted((zoo.parent / "copy").rglob("*.png")):
        large = Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.BILINEAR)
        dead = bytes(255 if numbers.random() < 0.2 else 0 for _ in range(128 * 128))
        large.paste((0, 0, 0), (0, 0), Image.frombytes("L", (128, 128), dead))
        large.save(path)
    card_with(zoo, "interpolation: bilinear", "interpolation: nearest")
    assert name(diagnosed(zoo, accuracy=0.97)) == "interpolation"


def test_channels_in_the_other_order_are_named(zoo: Path) -> None:
    """Weights that read blue where the card's read red, and colour images whose green and blue are other digits."""
    from PIL import Image

    paths = sorted((zoo.parent / "copy").rglob("*.png"))
    pictures = [Image.open(path).convert("L") for path in paths]
    for place, path in enumerate(paths):
        other = pictures[(place * 7 + 100) % len(pictures)]
        Image.merge("RGB", (pictures[place], other, other)).save(path)
    state = weights(zoo)
    first = state["conv1.0.weight"]
    only_last = torch.zeros_like(first)
    only_last[:, 2] = first.sum(1)
    save_weights(zoo, {**state, "conv1.0.weight": only_last})
    assert name(diagnosed(zoo)) == "channel order"


def test_labels_in_another_order_are_named(zoo: Path) -> None:
    path = zoo / "datasets" / "digit-files.yaml"
    mixed = [NAMES[place] for place in (3, 1, 4, 0, 5, 9, 2, 6, 8, 7)]
    replace_once(path, ", ".join(NAMES), ", ".join(mixed))
    assert name(diagnosed(zoo)) == "label order"


def test_a_class_sorted_as_text_is_named(zoo: Path) -> None:
    path = zoo / "datasets" / "digit-files.yaml"
    replace_once(path, ", ".join(NAMES), ", ".join(sorted(NAMES)))
    assert name(diagnosed(zoo)) == "label order"


def test_a_class_before_the_first_is_named(zoo: Path) -> None:
    state = weights(zoo)
    for key in ("fc.weight", "fc.bias"):
        state[key] = torch.cat([torch.full_like(state[key][:1], -1.0), state[key]])
    save_weights(zoo, state)
    replace_once(zoo / "digits" / "resnest_digits.yaml", "num_classes: 10", "num_classes: 11")
    assert name(diagnosed(zoo)) == "label order"


def test_other_tensors_of_the_same_file_are_named(zoo: Path) -> None:
    state = weights(zoo)
    averaged = {key: value * 0.3 if "weight" in key else value for key, value in state.items()}
    path = zoo / "digits" / "checkpoint.pth"
    torch.save({"state_dict": state, "state_dict_ema": averaged}, path)
    card = zoo / "digits" / "resnest_digits.yaml"
    replace_once(card, "file: resnest_digits-9fd38cd8.safetensors", "file: checkpoint.pth")
    cause = diagnosed(zoo)
    assert name(cause) == "averaged weights" and cause is not None and "`state_dict`" in cause.hint


def test_the_weights_of_a_sibling_are_named(zoo: Path) -> None:
    text = (zoo / "digits" / "resnest_digits.yaml").read_text()
    (zoo / "digits" / "right.safetensors").write_bytes(
        (zoo / "digits" / "resnest_digits-9fd38cd8.safetensors").read_bytes()
    )
    sibling = text.replace("name: resnest_digits\n", "name: sibling\n").replace(
        "resnest_digits-9fd38cd8.safetensors", "right.safetensors"
    )
    (zoo / "digits" / "sibling.yaml").write_text(sibling)
    (zoo / "digits" / "resnest_digits.yaml").write_text(text.replace("9fd38cd81797c875", "0" * 16))
    save_weights(zoo, {key: value * 0.3 if "weight" in key else value for key, value in weights(zoo).items()})
    cause = diagnosed(zoo)
    assert name(cause) == "weights file" and cause is not None and "sibling" in cause.hint


def test_nothing_is_named_when_nothing_explains_the_gap(zoo: Path) -> None:
    save_weights(zoo, {key: value * 0.3 if "weight" in key else value for key, value in weights(zoo).items()})
    assert diagnosed(zoo) is None
