"""torchvision builds what it published, and a factory that a card names runs only with permission."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.project import RunZoo
from zoo.errors import CannotCheck, WrongContent
from zoo.flops.counting import count, measure_state
from zoo.models import facts
from zoo.models.build import make_transform
from zoo.models.builders import python, torchvision
from zoo.models.fingerprint import picture
from zoo.models.meta import meta_build
from zoo.registry.card import Builder, Input
from zoo.registry.edit import card_text


@pytest.mark.parametrize(
    ("entry", "options"),
    [
        ("googlenet.IMAGENET1K_V1", {}),  # published without its auxiliary heads
        ("inception_v3.IMAGENET1K_V1", {}),  # and this one with them
        ("regnet_y_400mf.IMAGENET1K_V2", {}),  # its constructor computes with tensors
        ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", {"image_size": 384}),
        ("resnet50.IMAGENET1K_V2", {}),
        ("squeezenet1_1.IMAGENET1K_V1", {}),
    ],
)
def test_parameters_and_operations_are_those_that_torchvision_publishes(entry: str, options: dict[str, int]) -> None:
    from torchvision.models import get_model_weights

    name, _, tag = entry.partition(".")
    meta = get_model_weights(name)[tag].meta
    with meta_build():
        module = torchvision.build(entry, options)
    size = torchvision.default_input(module)["size"]
    assert measure_state(module).params == meta["num_params"]
    assert round(count(module, size, "torchvision").value / 1e9, 3) == meta["_ops"]
    assert torchvision.traits(module)["num_classes"] == 1000


def test_networks_whose_weights_expect_another_normalisation_have_it() -> None:
    from torchvision.models import googlenet, inception_v3

    for name, builder in (("googlenet", googlenet), ("inception_v3", inception_v3)):
        assert builder(init_weights=False).transform_input is False
        assert torchvision.build(name, {}).transform_input is True
        assert torchvision.build(name, {"transform_input": False}).transform_input is False


def test_googlenets_file_fits_when_the_card_drops_its_untrained_heads() -> None:
    from zoo.registry.card import Rename
    from zoo.weights.renames import under_own_names
    from zoo.weights.tensors import misfit, shapes

    with meta_build():
        published = torchvision.build("googlenet", {"aux_logits": True}).state_dict()
        expected = shapes(torchvision.build("googlenet", {}).state_dict())
    assert "unexpected: aux1." in misfit(expected, shapes(published))
    renamed, _ = under_own_names(shapes(published), [Rename(None, r"^aux[12]\.")])  # type: ignore[arg-type]  # no card
    assert misfit(expected, renamed) == ""


@pytest.mark.parametrize("entry", ["resnet50.IMAGENET1K_V1", "resnet50", "inception_v3", "vit_b_16", "efficientnet_b4"])
def test_the_input_gives_the_tensors_of_torchvisions_own_preset(entry: str) -> None:
    import torch
    from torchvision.models import get_model_weights

    name, _, tag = entry.partition(".")
    known = get_model_weights(name)
    preset = (known[tag] if tag else known.DEFAULT).transforms()
    with meta_build():
        default_input = torchvision.default_input(torchvision.build(entry, {}))
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in default_input.items()}
    image = picture()
    assert torch.equal(make_transform(Input(None, **fields))(image), preset(image))  # type: ignore[arg-type]  # no card


def test_a_card_of_published_weights_has_the_published_architecture_and_preprocessing() -> None:
    """Two whose crop is a pixel short when rounded, a ViT of another size, and GoogLeNet without its auxiliary heads."""
    from torchvision.models import get_model_weights

    for name in (
        "convnext_tiny.IMAGENET1K_V1",
        "vit_l_16.IMAGENET1K_V1",
        "vit_b_16.IMAGENET1K_SWAG_E2E_V1",
        "googlenet.IMAGENET1K_V1",
    ):
        (card,) = (item.card for item in torchvision.published(name))
        weights = get_model_weights(name.partition(".")[0])[name.partition(".")[2]]
        with meta_build():
            module = torchvision.build(name, card["builder"].get("options", {}))
        assert measure_state(module).params == weights.meta["num_params"]
        assert round(count(module, card["input"]["size"], "torchvision").value / 1e9, 3) == weights.meta["_ops"]
        assert int(card["input"]["size"][1] / card["input"]["crop_pct"]) == weights.transforms().resize_size[0]
    assert card["weights"][0]["rename"] == [{"pattern": r"^aux[12]\."}]


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        ("resnet500", {}, "torchvision has no classification model 'resnet500'\n  hint: did you mean 'resnet50'"),
        (
            "resnet50.IMAGENET1K_V9",
            {},
            "torchvision's resnet50 has no weights 'IMAGENET1K_V9'\n  hint: did you mean 'IMAGENET1K_V",
        ),
        ("fcn_resnet50", {}, "no classification model"),
        ("resnet18", {"weights": "DEFAULT"}, "the option 'weights' would load weights that zoo does not verify"),
        ("resnet18", {"colour": 1}, "torchvision cannot build resnet18 with colour=1: "),
    ],
)
def test_what_torchvision_cannot_build_is_an_error_with_a_hint(
    entry: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(WrongContent) as raised:
        torchvision.build(entry, options)
    assert message in str(raised.value)


FACTORY = """
from pathlib import Path
import torch

(Path(__file__).parent / "it-ran").touch()


class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.num_classes = 4
        self.conv = torch.nn.Conv2d(3, width, 3)
        self.head = torch.nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)))


def make(width=8):
    return Net(width)


def text():
    return "no module"


def broken():
    raise RuntimeError("on purpose")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable module of another author, which creates a file when it is imported."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "their_nets.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("their_nets", None)


@pytest.fixture
def their_zoo(tmp_path: Path, package: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    builder = {"library": "python", "entry": "their_nets:make", "options": {"width": 16}}
    card = {
        "schema": 1,
        "name": "net",
        "builder": builder,
        "input": {"size": [3, 32, 32]},
        "claims": {"params": {"value": 516}},
    }
    (folder / "net.yaml").write_text(card_text(card))
    return folder


def statuses(out: str) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in json.loads(out)["findings"]}


def test_code_that_a_card_names_does_not_run_without_permission(
    run_zoo: RunZoo, their_zoo: Path, package: Path
) -> None:
    ran = run_zoo("verify", "net", "--cards", their_zoo, "--format", "json", "--check", "build,params,flops")
    assert statuses(ran.out) == {"build": "skipped", "params": "skipped", "flops": "skipped"}
    finding = next(item for item in json.loads(ran.out)["findings"] if item["check"] == "build")
    assert finding["hint"] == "if you trust the card and that package, give --allow-code"
    assert "net.yaml:" in finding["where"]
    assert not (package / "it-ran").exists()


def test_allowed_code_is_measured_as_any_other_model(run_zoo: RunZoo, their_zoo: Path, package: Path) -> None:
    options = ("--cards", their_zoo, "--format", "json", "--check", "build,params,flops")
    ran = run_zoo("verify", "net", "--allow-code", *options)
    assert (ran.code, statuses(ran.out)) == (0, {"build": "ok", "params": "ok", "flops": "unclaimed"})
    assert (package / "it-ran").exists()
    assert json.loads(ran.out)["options"]["allow_code"] is True
    # A fact that was measured with permission is not shown without it.
    assert statuses(run_zoo("verify", "net", *options).out)["params"] == "skipped"


def test_the_api_needs_the_permission_too(their_zoo: Path, package: Path) -> None:
    import zoo

    with pytest.raises(CannotCheck, match=r"this card's builder runs arbitrary code \(their_nets:make\)"):
        zoo.create_model("net", cards=their_zoo)
    assert not (package / "it-ran").exists()
    assert zoo.create_model("net", cards=their_zoo, allow_code=True).head.out_features == 4


def test_a_changed_factory_is_measured_again(package: Path) -> None:
    builder = Builder({"library": None}, "python", "their_nets:make", {})  # type: ignore[arg-type]  # not from a card

    def key() -> str:
        return facts.architecture_key("params", builder, measured_by=())

    before = key()
    assert key() == before
    (package / "their_nets.py").write_text(FACTORY.replace("width=8", "width=9"))
    assert key() != before
    assert not (package / "it-ran").exists()


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ("their_nets", WrongContent, "write `package.module:function`"),
        ("their_nets:make; import os", WrongContent, "is not the name of a factory"),
        ("no_such_package.nets:make", CannotCheck, "no_such_package cannot be imported"),
        ("their_nets:absent", WrongContent, "has no attribute 'absent'"),
        ("their_nets:text", WrongContent, "returned a str, not a torch.nn.Module"),
        ("their_nets:broken", WrongContent, "RuntimeError: on purpose"),
    ],
)
def test_a_factory_that_returns_no_module_is_an_error(
    entry: str, error: type[Exception], message: str, package: Path
) -> None:
    with pytest.raises(error) as raised:
        python.build(entry, {})
    assert message in str(raised.value)


def test_a_digest_of_the_source_covers_the_whole_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "their_package"
    (folder / "deep").mkdir(parents=True)
    for name in ("__init__.py", "deep/__init__.py", "deep/nets.py"):
        (folder / name).write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = python.source_sha256("their_package.deep.nets:make")
    (folder / "deep" / "nets.py").write_text("x = 2\n")
    assert len(before) == 64 and python.source_sha256("their_package.deep.nets:make") not in ("", before)
    assert python.source_sha256("no_such_package:make") == ""
