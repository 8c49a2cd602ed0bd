"""A model is adapted after its weights were loaded strictly: another classifier, other channels, feature maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.errors import CannotCheck, UsageError, WrongContent
from zoo.models.adapt import UNCHANGED, Adaptation
from zoo.models.build import build_model, load_model
from zoo.models.builders import timm, torchvision
from zoo.registry.card import Card
from zoo.registry.catalog import load_catalog
from zoo.registry.edit import card_text
from zoo.weights import store

MakeCard = Callable[..., Card]
BUILDERS: dict[str, Any] = {"timm": timm, "torchvision": torchvision}

# timm's feature extractors of all kinds (list, getter, flattened list, MobileNetV3Features), and models of torchvision.
MODELS: list[tuple[str, str, dict[str, Any]]] = [
    ("timm", "test_resnet", {}),
    ("timm", "test_efficientnet", {}),
    ("timm", "test_vit", {}),
    ("timm", "densenet121", {}),
    ("timm", "tf_mobilenetv3_small_minimal_100", {}),
    ("torchvision", "mobilenet_v3_small", {}),
    ("torchvision", "squeezenet1_1", {}),
]


@pytest.fixture
def make_card(tmp_path: Path) -> MakeCard:
    """Write a card of an architecture, and beside it a file with random weights for it."""

    def make(library: str, entry: str, options: dict[str, object]) -> Card:
        from safetensors.torch import save_file

        torch.manual_seed(0)
        state = BUILDERS[library].build(entry, options).state_dict()
        save_file(state, tmp_path / "net.safetensors")
        builder = {"library": library, "entry": entry, "options": options}
        card = {"name": "net", "builder": builder, "weights": [{"file": "net.safetensors"}]}
        (tmp_path / "net.yaml").write_text(card_text(card))
        return load_catalog([tmp_path]).find("net")

    return make


def load(card: Card, adaptation: Adaptation = UNCHANGED) -> nn.Module:
    """The card's model, adapted where that is asked for."""
    artifact = store.measure(card.preferred_weights, card.path.parent / "net.safetensors")
    return load_model(card.required_builder, artifact, adaptation=adaptation)


def changed(model: nn.Module, original: nn.Module) -> set[str]:
    """The names of the adapted model's tensors that are not, bit by bit, those of the original one."""
    before = original.state_dict()
    return {
        name
        for name, value in model.state_dict().items()
        if name not in before or before[name].shape != value.shape or not torch.equal(before[name], value)
    }


def run(model: nn.Module, channels: int = 3) -> Tensor | list[Tensor]:
    torch.manual_seed(1)
    side = 160 if "VisionTransformer" in type(getattr(model, "model", model)).__name__ else 96
    with torch.inference_mode():
        return model(torch.rand(2, channels, side, side))


@pytest.mark.parametrize(("library", "entry", "options"), MODELS)
def test_a_new_classifier_has_fresh_weights_and_all_other_tensors_are_those_of_the_file(
    library: str, entry: str, options: dict[str, object], make_card: MakeCard
) -> None:
    card = make_card(library, entry, options)
    original, adapted = load(card), load(card, Adaptation(num_classes=7))
    assert not adapted.training and run(adapted).shape == (2, 7)
    classifier = BUILDERS[library].traits(original)["classifier"]
    assert changed(adapted, original) == {f"{classifier}.weight", f"{classifier}.bias"}


@pytest.mark.parametrize(("library", "entry", "options"), MODELS)
def test_without_a_classifier_the_model_returns_what_the_classifier_was_given(
    library: str, entry: str, options: dict[str, object], make_card: MakeCard
) -> None:
    card = make_card(library, entry, options)
    original, adapted = load(card), load(card, Adaptation(num_classes=0))
    assert changed(adapted, original) == set()
    inputs: list[Tensor] = []
    name = BUILDERS[library].traits(original)["classifier"]
    original.get_submodule(name).register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    run(original)
    if entry == "squeezenet1_1":  # its classifier is a convolution before the pooling
        inputs = [inputs[0].mean((2, 3))]
    torch.testing.assert_close(run(adapted), inputs[0])


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(("library", "entry", "options"), MODELS)
def test_another_number_of_channels_changes_the_first_convolution_only_as_timm_does(
    library: str, entry: str, options: dict[str, object], channels: int, make_card: MakeCard
) -> None:
    from timm.models import adapt_input_conv

    card = make_card(library, entry, options)
    original, adapted = load(card), load(card, Adaptation(in_chans=channels))
    assert run(adapted, channels).shape == run(original).shape
    first = f"{BUILDERS[library].traits(original)['first_conv']}.weight"
    assert changed(adapted, original) == {first}
    expected = adapt_input_conv(channels, original.state_dict()[first])
    assert torch.equal(adapted.state_dict()[first], expected)


def test_a_grey_image_gives_what_its_three_equal_channels_gave(make_card: MakeCard) -> None:
    card = make_card("torchvision", "mobilenet_v3_small", {})
    grey = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        adapted = load(card, Adaptation(in_chans=1))(grey)
        torch.testing.assert_close(adapted, load(card)(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("library", "entry", "options", "last"),
    [(*model, last) for model, last in zip(MODELS, ("layer4", None, None, "features", None, "features", "features"), strict=True)],
)  # fmt: skip
def test_feature_maps_get_smaller_and_come_from_the_tensors_of_the_file(
    library: str, entry: str, options: dict[str, object], last: str | None, make_card: MakeCard
) -> None:
    card = make_card(library, entry, options)
    original, adapted = load(card), load(card, Adaptation(features_only=True))
    maps = run(adapted)
    assert len(maps) >= 2 and all(item.dim() == 4 and len(item) == 2 for item in maps)
    sides = [item.shape[2] for item in maps]
    assert sides == sorted(sides, reverse=True)
    stored = list(original.state_dict().values())
    assert all(any(value.shape == one.shape and torch.equal(value, one) for one in stored)
               for value in adapted.state_dict().values())  # fmt: skip
    if last:
        outputs: list[Tensor] = []
        original.get_submodule(last).register_forward_hook(lambda module, args, output: outputs.append(output))
        run(original)
        torch.testing.assert_close(maps[-1], outputs[0])


def test_torchvisions_feature_maps_are_the_last_of_each_size(make_card: MakeCard) -> None:
    card = make_card("torchvision", "resnet18", {})
    adapted = load(card, Adaptation(features_only=True, in_chans=1))
    shapes = [(64, 48), (64, 24), (128, 12), (256, 6), (512, 3)]
    for mode in (False, True):
        assert [item.shape[1:3] for item in run(adapted.train(mode), channels=1)] == shapes


def test_channels_are_adapted_together_with_features_or_classifier(make_card: MakeCard) -> None:
    card = make_card("timm", "test_resnet", {"num_classes": 10})
    maps = run(load(card, Adaptation(in_chans=2, features_only=True)), channels=2)
    assert len(maps) == 5
    assert run(load(card, Adaptation(in_chans=2, num_classes=5)), channels=2).shape == (2, 5)
    same = load(card, Adaptation(num_classes=10))  # as many as before: the classifier stays
    assert changed(same, load(card)) == set()


@pytest.mark.parametrize(("library", "entry"), [("timm", "test_resnet"), ("torchvision", "squeezenet1_1")])
def test_an_architecture_without_weights_is_adapted_too(library: str, entry: str, make_card: MakeCard) -> None:
    builder = make_card(library, entry, {}).required_builder
    assert run(build_model(builder, adaptation=Adaptation(num_classes=4, in_chans=1)), channels=1).shape == (2, 4)
    assert len(run(build_model(builder, adaptation=Adaptation(features_only=True)))) >= 2


def test_weights_that_do_not_fit_the_card_are_refused_before_anything_is_adapted(make_card: MakeCard) -> None:
    card = make_card("timm", "test_resnet", {"num_classes": 10})
    text = card.path.read_text()
    card.path.write_text(text.replace("num_classes: 10", "num_classes: 11"))
    card = load_catalog([card.path.parent]).find("net")
    with pytest.raises(WrongContent, match="do not fit the architecture"):
        load(card, Adaptation(num_classes=10))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": -1}, "num_classes is -1"),
        ({"in_chans": 0}, "in_chans is 0"),
        ({"num_classes": 5, "features_only": True}, "num_classes has no effect with features_only"),
    ],
)
def test_an_invalid_adaptation_is_a_usage_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        Adaptation(**fields)
    assert raised.value.hint


@pytest.mark.filterwarnings("ignore:CSATv2 is designed for 3-channel RGB input")  # timm warns, zoo refuses
@pytest.mark.parametrize(
    ("library", "entry", "adaptation", "message"),
    [
        ("torchvision", "googlenet", Adaptation(in_chans=1), "googlenet normalises the three channels of its input itself"),
        ("torchvision", "vit_b_32", Adaptation(features_only=True), "vit_b_32 has no layers with feature maps"),
        ("timm", "csatv2", Adaptation(in_chans=1), "timm does not name the first convolution of csatv2"),
        ("timm", "inception_v3", Adaptation(features_only=True, in_chans=1), None),
        ("timm", "test_vit", Adaptation(in_chans=2), None),
        ("python", "their.package:factory", Adaptation(num_classes=2), "cannot adapt the model of the factory their.package:factory"),
    ],
)  # fmt: skip
def test_what_cannot_be_adapted_is_an_error_at_the_cards_line(
    library: str, entry: str, adaptation: Adaptation, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(card_text({"name": "net", "builder": {"library": library, "entry": entry}}))
    builder = load_catalog([tmp_path]).find("net").required_builder
    if message is None:
        assert isinstance(build_model(builder, adaptation=adaptation), nn.Module)
        return
    with pytest.raises(CannotCheck, match=message) as raised:
        build_model(builder, allow_code=True, adaptation=adaptation)
    assert raised.value.where.startswith(f"{path}:") and raised.value.hint
