"""What `import zoo` offers: lazily, by name, and the same as the command line finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import zoo
from tests.helpers.project import ROOT
from zoo.errors import NotHere, UnknownName


def test_the_public_names_are_those_and_cost_nothing_to_import() -> None:
    code = "import sys, zoo; print(len(sys.modules) < 200, {'torch', 'yaml', 'click'} & set(sys.modules) or '')"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True"]
    assert dir(zoo) == sorted(zoo.__all__)
    assert all(getattr(zoo, name) for name in zoo.__all__)


def test_no_public_name_hides_a_module() -> None:
    modules = {path.stem for path in (ROOT / "zoo").iterdir() if not path.name.startswith("_")}
    assert set(zoo.__all__) & modules == set()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zoo.nothing  # type: ignore[attr-defined]  # that is the test


def test_models_are_listed_by_a_part_of_their_name() -> None:
    assert zoo.list_models("50d") == ["resnest50d", "resnest50d_1s4x24d", "resnest50d_4s2x40d"]
    assert zoo.load_card("resnest269e").weights[0].size_bytes == 445402691
    with pytest.raises(UnknownName, match="did you mean resnest269e"):
        zoo.load_card("resnest269")


def test_a_model_is_built_and_loaded_with_verified_weights() -> None:
    path = zoo.fetch("resnest_digits")
    assert path == next((ROOT / "cards" / "digits").glob("*.safetensors"))
    model = zoo.create_model("resnest_digits", pretrained=True)
    again = zoo.create_model("resnest_digits", pretrained=True)
    fresh = zoo.create_model("resnest_digits")
    pixels = torch.ones(1, 3, 32, 32)
    with torch.inference_mode():
        assert not model.training and torch.equal(model(pixels), again(pixels))
        assert not torch.equal(model(pixels), fresh(pixels))


def test_a_transform_gives_what_the_model_takes() -> None:
    from PIL import Image

    pixels = zoo.create_transform("resnest_digits")(Image.new("RGB", (8, 8), "white"))
    assert pixels.shape == (3, 32, 32) and torch.equal(pixels, torch.ones(3, 32, 32))


def test_verify_gives_the_report() -> None:
    report = zoo.verify("resnest_digits", strict=True)
    assert report.exit_code == 0
    assert [subject.model for subject in report.subjects] == ["resnest_digits"]


def test_own_cards_replace_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\n")
    assert zoo.list_models(cards=tmp_path) == ["a"]
    with pytest.raises(NotHere, match="names no builder"):
        zoo.create_model("a", cards=str(tmp_path))
