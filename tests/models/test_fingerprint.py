"""The fingerprint distinguishes models that the same weights fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo, replace_once
from zoo.models import fingerprint
from zoo.models.subject import Settings, Subject
from zoo.registry.catalog import Member, load_catalog
from zoo.registry.edit import card_text
from zoo.weights import store

CARD = Path("digits") / "resnest_digits.yaml"


def verified(run_zoo: RunZoo, zoo: Path, name: str = "resnest_digits") -> dict[str, dict]:
    ran = run_zoo("verify", name, "--cards", zoo, "--format", "json", "--check", "loading,fingerprint")
    return {finding["check"]: finding for finding in json.loads(ran.out)["findings"]}


def test_the_test_image_is_the_same_on_every_machine() -> None:
    image = fingerprint.picture()
    assert (image.size, image.mode) == ((500, 375), "RGB")
    assert hashlib.sha256(image.tobytes()).hexdigest().startswith("0798c1b9eab0f478")


@pytest.mark.parametrize(("x", "y"), [(0, 0), (499, 374), (180, 150), (17, 301)])
def test_the_test_image_follows_its_formula(x: int, y: int) -> None:
    pixel = []
    for c in range(3):
        ring = ((x - 180 - 40 * c) ** 2 + (y - 150) ** 2) // (700 + 100 * c)
        slope = (3 - c) * x // 6 + (1 + c) * y // 4
        grain = (x * y + 7 * x + 13 * y) * (2 * c + 1) % 61
        pixel.append((ring + slope + grain) % 256)
    assert fingerprint.picture().getpixel((x, y)) == tuple(pixel)


def test_the_model_of_the_card_has_its_fingerprint(run_zoo: RunZoo, digits_zoo: Path) -> None:
    findings = verified(run_zoo, digits_zoo)
    assert findings["fingerprint"]["status"] == "ok"
    assert findings["fingerprint"]["evidence"]["difference"] <= 1e-5 < findings["fingerprint"]["evidence"]["tolerance"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("interpolation: bilinear", "interpolation: bicubic"),
        ("crop_pct: 1.0", "crop_pct: 0.95"),
        ("mean: [0.5, 0.5, 0.5]", "mean: [0.485, 0.456, 0.406]"),
        ("std: [0.5, 0.5, 0.5]", "std: [0.51, 0.5, 0.5]"),
        ("stem_width: 8}", "stem_width: 8, act_layer: silu}"),
    ],
)
def test_another_model_that_the_weights_fit_has_another_fingerprint(
    old: str, new: str, run_zoo: RunZoo, digits_zoo: Path
) -> None:
    replace_once(digits_zoo / CARD, old, new)
    findings = verified(run_zoo, digits_zoo)
    assert findings["loading"]["status"] == "ok"
    assert findings["fingerprint"]["status"] == "wrong"
    assert (
        "the weights load, but builder, options or input are not those of the card's author"
        in findings["fingerprint"]["reason"]
    )


def test_weights_of_another_training_have_another_fingerprint(run_zoo: RunZoo, digits_zoo: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = next((digits_zoo / "digits").glob("*.safetensors"))
    tensors = load_file(path)
    tensors["fc.weight"] = tensors["fc.weight"] * 1.01
    path.chmod(0o644)
    save_file(tensors, path)
    size_bytes, digest = store.digest(path)
    text = (digits_zoo / CARD).read_text()
    lines = [line for line in text.splitlines() if "sha256:" not in line and "size_bytes:" not in line]
    (digits_zoo / CARD).write_text(
        "\n".join(lines).replace("    dtype: float32", f'    size_bytes: {size_bytes}\n    sha256: "{digest}"') + "\n"
    )
    findings = verified(run_zoo, digits_zoo)
    assert (findings["loading"]["status"], findings["fingerprint"]["status"]) == ("ok", "wrong")


def test_another_padding_has_another_fingerprint(run_zoo: RunZoo, tmp_path: Path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path / "zoo"
    folder.mkdir()
    save_file(timm.create_model("tf_efficientnet_lite0", num_classes=10).state_dict(), folder / "net.safetensors")
    size_bytes, digest = store.digest(folder / "net.safetensors")
    card = {
        "name": "net",
        "builder": {"library": "timm", "entry": "tf_efficientnet_lite0", "options": {"num_classes": 10}},
        "input": {"size": [3, 96, 96], "interpolation": "bicubic", "crop_pct": 0.875},
        "weights": [{"file": "net.safetensors", "size_bytes": size_bytes, "sha256": digest}],
    }
    path = folder / "net.yaml"
    path.write_text(card_text(card))
    assert run_zoo("verify", "net", "--cards", folder, "--write", "--check", "loading").code == 0
    assert verified(run_zoo, folder, "net")["fingerprint"]["status"] == "ok"
    replace_once(path, "entry: tf_efficientnet_lite0", "entry: efficientnet_lite0")
    findings = verified(run_zoo, folder, "net")
    assert (findings["loading"]["status"], findings["fingerprint"]["status"]) == ("ok", "wrong")


def test_a_card_without_a_fingerprint_has_no_finding(run_zoo: RunZoo) -> None:
    ran = run_zoo("verify", "resnest14d", "--check", "fingerprint", "--format", "json")
    assert (ran.code, json.loads(ran.out)["findings"]) == (0, [])


def test_rounding_errors_of_another_order_of_computation_are_within_the_tolerance(digits_zoo: Path) -> None:
    import torch

    from zoo.models.build import make_transform

    catalog = load_catalog([digits_zoo])
    subject = Subject(Member(catalog.find("resnest_digits"), catalog), Settings())
    claim = subject.card.fingerprint
    image = make_transform(subject.input)(fingerprint.picture())
    with torch.inference_mode():
        reordered = subject.model.double().to(memory_format=torch.channels_last)(image.double().repeat(3, 1, 1, 1))[1]
        half = subject.model.to(torch.bfloat16)(image.to(torch.bfloat16).unsqueeze(0))[0].float()
    claimed = torch.tensor(claim.logits)
    assert float((reordered[: len(claimed)] - claimed).abs().max()) < claim.tolerance / 50
    assert float((half[: len(claimed)] - claimed).abs().max()) > claim.tolerance


@pytest.mark.parametrize(
    ("logits", "tolerance"),
    [((0.5, -0.2), 1e-4), ((1.0,), 1e-4), ((-2.5, 1.0), 0.0003), ((12.0,), 0.002), ((95.0,), 0.01)],
)
def test_the_tolerance_is_relative_to_the_largest_logit(logits: tuple[float, ...], tolerance: float) -> None:
    assert fingerprint.tolerance(logits) == tolerance
