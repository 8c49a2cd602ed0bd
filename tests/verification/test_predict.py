"""The output and the errors of `zoo predict`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.digit_images import NAMES, save_digits
from tests.helpers.fetching import sha256
from tests.helpers.project import RunZoo, replace_once


def test_the_most_probable_classes_of_each_image_are_named(run_zoo: RunZoo, tmp_path: Path) -> None:
    save_digits(tmp_path, 2)  # the model takes the very first five for a nine
    paths = [max((tmp_path / name).iterdir()) for name in NAMES]
    ran = run_zoo("predict", "resnest_digits", *paths, "--format", "json")
    predictions = json.loads(ran.out)
    assert ran.code == 0 and [item["image"] for item in predictions] == [str(path) for path in paths]
    guesses = {Path(item["image"]).parent.name: item["guesses"][0]["name"] for item in predictions}
    assert guesses == {path.parent.name: str(NAMES.index(path.parent.name)) for path in paths}
    for item in predictions:
        shares = [guess["probability"] for guess in item["guesses"]]
        assert len(shares) == 5 and shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1


def test_text_shows_each_image_and_its_classes(run_zoo: RunZoo, tmp_path: Path) -> None:
    (name, *_) = save_digits(tmp_path, 1)
    lines = run_zoo("predict", "resnest_digits", tmp_path / name).out.splitlines()
    assert lines[0] == str(tmp_path / name) and len(lines) == 6 and lines[1].endswith(" %  0")


def test_a_file_that_is_not_an_image_is_a_usage_error(run_zoo: RunZoo, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no image")
    ran = run_zoo("predict", "resnest_digits", tmp_path / "x.png")
    assert ran.code == 2 and "not a readable image" in ran.err
    ran = run_zoo("predict", "resnest_digits", tmp_path / "absent.png")
    assert ran.code == 2 and "No such file" in ran.err


def test_names_come_from_the_data_set_when_the_card_has_none(run_zoo: RunZoo, digits_zoo: Path, tmp_path: Path) -> None:
    path = digits_zoo / "digits" / "resnest_digits.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("class_names")))
    (name, *_) = save_digits(tmp_path / "copy", 1)
    ran = run_zoo("predict", "resnest_digits", tmp_path / "copy" / name, "--cards", digits_zoo)
    assert ran.out.splitlines()[1].endswith(" %  0")


@pytest.mark.parametrize(
    ("ignore", "code"), [("", 3), ("ignore: [{rule: loading, reason: untrained on purpose}]\n", 0)]
)
def test_suspect_weights_are_refused_unless_the_card_accepts_them(
    ignore: str, code: int, run_zoo: RunZoo, digits_zoo: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load, save

    file = digits_zoo / "digits" / "resnest_digits-9fd38cd8.safetensors"
    tensors = load(file.read_bytes())
    old, tensors["fc.weight"] = sha256(file.read_bytes()), tensors["fc.weight"] * 0
    file.write_bytes(save(tensors))
    card = digits_zoo / "digits" / "resnest_digits.yaml"
    replace_once(card, old, sha256(file.read_bytes()))
    replace_once(card, "size_bytes: 279632", f"size_bytes: {file.stat().st_size}")
    card.write_text(card.read_text() + ignore)
    (name, *_) = save_digits(tmp_path / "copy", 1)
    ran = run_zoo("predict", "resnest_digits", tmp_path / "copy" / name, "--cards", digits_zoo)
    assert (ran.code, "all values are zero in fc.weight" in ran.err) == (code, code == 3)
