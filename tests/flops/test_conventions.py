"""Each rule of each convention by hand, then whole models against the numbers that others published."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional

from zoo import plugins
from zoo.flops.conventions import Convention, classifier
from zoo.flops.counting import count, photograph_input, tally
from zoo.flops.tracing import trace
from zoo.models.meta import meta_build

SHAPE = (4, 6, 10)


class Calling(nn.Module):
    """A module whose forward pass is one function, for what is no layer."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def written(value: object) -> str:
    """A layer as torch writes it, a number as it is."""
    return str(value()) if callable(value) else str(value)


def alone(make: Callable[[], nn.Module]) -> nn.Module:
    """A layer below a root: thop counts the layers of a model, and a model is none."""
    with meta_build():
        return nn.Sequential(make()).eval()


def architecture(name: str, **options: Any) -> Any:
    with meta_build():
        return timm.create_model(name, **options).eval()


@pytest.mark.parametrize("name", plugins.names("conventions"))
def test_every_convention_says_what_it_counts_and_keeps_the_contract(name: str) -> None:
    rule: Convention = importlib.import_module(f"zoo.flops.conventions.{name}")
    assert plugins.summary("conventions", name)
    assert isinstance(rule.EVERY_OPERATOR, bool)
    recorded = trace(alone(lambda: nn.Conv2d(4, 4, 1)), (1, *SHAPE))
    assert sum(share.amount for share in rule.tally(recorded)) in (4 * 60 * 4, 4 * 60 * 5, 2 * 4 * 60 * 4)
    assert all(isinstance(variant(recorded), int) for variant in rule.VARIANTS.values())


# macs and flops


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (lambda: nn.Conv2d(4, 8, 3, padding=1), 8 * 60 * 4 * 9),
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), 8 * 60 * 2 * 9),
        (lambda: nn.Conv2d(4, 8, 3, padding="same"), 8 * 60 * 4 * 9),
        (lambda: nn.Conv2d(4, 8, 2, stride=2), 8 * 15 * 4 * 4),
        (lambda: nn.Conv2d(4, 8, 3, dilation=2), 8 * 2 * 6 * 4 * 9),
        (lambda: nn.ConvTranspose2d(4, 8, 2, stride=2), 4 * 60 * 8 * 4),
        (lambda: nn.Linear(10, 3), 24 * 10 * 3),
        (lambda: nn.BatchNorm2d(4), 0),
        (lambda: nn.AdaptiveAvgPool2d(1), 0),
        (lambda: nn.GELU(), 0),
    ],
    ids=written,
)
def test_multiply_adds_of_a_layer(layer: Callable[[], nn.Module], macs: int) -> None:
    module = alone(layer)
    assert count(module, SHAPE, "macs").value == macs
    assert count(module, SHAPE, "flops").value == 2 * macs
    assert count(module, SHAPE, "torchvision").value == macs


def test_the_classifier_is_what_gives_the_logits() -> None:
    with meta_build():
        body = nn.Sequential(nn.Conv2d(4, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(10, 10), nn.ReLU())
        model = nn.Sequential(body, nn.Linear(10, 10), nn.Softmax(-1)).eval()
    layer = classifier(trace(model, (1, *SHAPE)))
    assert layer is not None
    assert layer.path == "1"
    assert classifier(trace(alone(lambda: nn.Conv2d(4, 4, 1)), (1, *SHAPE))) is None


def test_a_layer_of_another_width_than_the_logits_is_not_the_classifier() -> None:
    with meta_build():
        model = nn.Sequential(nn.Flatten(), nn.Linear(240, 20), Calling(lambda x: x @ torch.empty(20, 7))).eval()
    assert classifier(trace(model, (1, *SHAPE))) is None


def test_biases_are_those_of_layers_that_have_one() -> None:
    with meta_build():
        model = nn.Sequential(
            nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 1, bias=False), nn.Flatten(), nn.Linear(480, 7)
        ).eval()
    recorded = trace(model, (1, *SHAPE))
    rule: Convention = importlib.import_module("zoo.flops.conventions.macs")
    assert rule.VARIANTS["with biases"](recorded) - tally(recorded, "macs").value == 480 + 7


# thop


@pytest.mark.parametrize(
    ("layer", "thop"),
    [
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), 8 * 60 * (2 * 9 + 1)),
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False), 8 * 60 * 2 * 9),
        (lambda: nn.ConvTranspose2d(4, 8, 2, stride=2, bias=False), 8 * 240 * 4 * 4),
        (lambda: nn.BatchNorm2d(4), 2 * 240),
        (lambda: nn.AvgPool2d(2), 60),
        (lambda: nn.AdaptiveAvgPool2d((3, 2)), 24 * (2 * 5 + 1)),
        # A window of 2 x 3 and not of 1.5 x 3.33: rounded down.
        (lambda: nn.AdaptiveAvgPool2d((4, 3)), 48 * (1 * 3 + 1)),
        (lambda: nn.LeakyReLU(), 240),
        (lambda: nn.Linear(10, 3), 72 * 10),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), 960 * 11),
        (lambda: nn.Upsample(scale_factor=2, mode="nearest"), 0),
        (lambda: nn.ReLU(), 0),
        (lambda: nn.MaxPool2d(2), 0),
        (lambda: nn.LayerNorm(10), 0),
    ],
    ids=written,
)
def test_thop_counts_a_layer_by_its_class(layer: Callable[[], nn.Module], thop: int) -> None:
    assert count(alone(layer), SHAPE, "thop").value == thop


def test_thop_does_not_know_a_subclass_or_a_function() -> None:
    class Own(nn.Conv2d):
        """A convolution by another name."""

    assert count(alone(lambda: Own(4, 8, 1)), SHAPE, "thop").value == 0
    assert count(alone(lambda: Calling(lambda x: functional.avg_pool2d(x, 2))), SHAPE, "thop").value == 0


def test_thop_counts_the_classifier_of_a_model_that_is_not_timms() -> None:
    with meta_build():
        model = nn.Sequential(nn.Flatten(), nn.Linear(240, 7)).eval()
    assert count(model, SHAPE, "thop").value == 240 * 7


# FLOPs on timm's model pages (github.com/huggingface/pytorch-image-models, docs/models/*.md, 2021), at the photograph.
PUBLISHED = {
    "resnest14d": (224, 3_548_594_464),
    "resnest26d": (224, 4_678_918_720),
    "resnest50d": (224, 6_937_106_336),
    "resnest50d_1s4x24d": (224, 5_686_764_544),
    "resnest50d_4s2x40d": (224, 5_657_064_720),
    "resnest101e": (256, 17_423_183_648),
    "resnest200e": (320, 45_954_387_872),
    "resnest269e": (416, 100_830_307_104),
    "resnet18": (224, 2_337_073_152),
    "ecaresnetlight": (224, 5_276_118_784),
    "efficientnet_b0": (224, 511_241_564),  # BatchNormAct2d that was BatchNorm2d
    "inception_v3": (299, 7_352_418_880),  # the same
    "inception_v4": (299, 15_806_527_936),  # the same
    # thop 0.0.31 run on timm 0.4.5, which gives the published number wherever one is at hand (2026-11-24).
    "regnetx_002": (224, 255_276_032),  # BatchNormAct2d that always was one
    "densenet121": (224, 3_641_843_200),  # the same
    "skresnet18": (224, 2_333_467_136),  # the same, in resnet.py
    "rexnet_100": (224, 509_989_377),  # the same
    "xception41": (299, 11_681_983_232),  # the same
    "cspdarknet53": (256, 8_545_018_880),  # the same, with LeakyReLU
    "inception_resnet_v2": (299, 16_959_133_120),  # BatchNormAct2d that was BatchNorm2d
    "gernet_s": (224, 954_363_216),
    "hrnet_w18_small": (224, 2_071_651_488),
    "selecsls42b": (224, 3_824_022_528),
    "legacy_seresnet18": (224, 2_328_876_024),
    "ese_vovnet19b_dw": (224, 1_711_959_904),  # BatchNormAct2d that always was one
    "xception": (299, 10_600_506_792),
    "dm_nfnet_f0": (192, 22_359_168),
    "nasnetalarge": (331, 30_242_402_862),
    "pnasnet5large": (331, 31_458_865_950),
    "vgg11_bn": (224, 9_659_103_232),
    "mobilenetv3_large_100": (224, 287_193_752),
    "tf_efficientnet_cc_b0_4e": (224, 224_153_788),  # CondConv2d counts nothing, its routing does
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_thop_gives_the_number_on_timms_page_to_the_digit(name: str) -> None:
    size, published = PUBLISHED[name]
    assert count(architecture(name), photograph_input(size), "thop").value == published


# The same pages, where the photograph's width does not fit the network (tresnet, dla: the published number), and what
# thop 0.0.31 gives on timm 0.4.5 for a transformer.
AT_THE_SQUARE = {
    "tresnet_m": (224, 5_733_048_064),  # norm and activation were one InplaceAbn
    "tresnet_m_448": (448, 22_929_743_104),
    "dla34": (224, 3_070_105_576),  # the classifier is a convolution
    "vit_base_patch16_224": (224, 16_848_651_264),  # the classifier was nn.Linear
}


@pytest.mark.parametrize("name", AT_THE_SQUARE)
def test_thop_gives_the_number_of_a_model_that_does_not_take_the_photograph(name: str) -> None:
    size, published = AT_THE_SQUARE[name]
    assert count(architecture(name), (3, size, size), "thop").value == published


@pytest.mark.parametrize(
    ("variant", "difference"),
    [
        ("with the classifier", 2048 * 1000),
        # The first convolution of each split attention has a bias, for its 128 to 1024 maps of one pixel.
        ("without biases", None),
    ],
)
def test_a_variant_of_thop_differs_by_what_it_says(variant: str, difference: int | None) -> None:
    recorded = trace(architecture("resnest14d"), (1, *photograph_input(224)))
    rule: Convention = importlib.import_module("zoo.flops.conventions.thop")
    expected = difference if difference is not None else -_outputs_with_bias(recorded.root)
    assert rule.VARIANTS[variant](recorded) - tally(recorded, "thop").value == expected
    both = rule.VARIANTS["with the classifier and without biases"](recorded)
    assert both == tally(recorded, "thop").value + 2048 * 1000 - _outputs_with_bias(recorded.root)


def _outputs_with_bias(model: nn.Module) -> int:
    """All of ResNeSt's convolutions with a bias come after global pooling: one pixel a map."""
    return sum(m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d) and m.bias is not None)


# thop 0.1


@pytest.mark.parametrize(
    ("layer", "thop"),
    [
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2), 8 * 60 * 2 * 9),
        (lambda: nn.ConvTranspose2d(4, 8, 2, stride=2), 8 * 240 * 4 * 4),
        (lambda: nn.BatchNorm2d(4), 4 * 240),
        (lambda: nn.BatchNorm2d(4, affine=False), 2 * 240),
        (lambda: nn.InstanceNorm2d(4), 2 * 240),
        (lambda: nn.LayerNorm(10), 4 * 240),
        (lambda: nn.PReLU(), 240),
        (lambda: nn.LeakyReLU(), 0),
        (lambda: nn.Softmax(-1), 24 * 29),
        (lambda: nn.AvgPool2d(2), 60),
        # A window of 6 / 4 by 10 / 3, in all 48 outputs: 240 additions and 48 divisions.
        (lambda: nn.AdaptiveAvgPool2d((4, 3)), 240 + 48),
        (lambda: nn.Linear(10, 3), 72 * 10),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), 960 * 11),
        (lambda: nn.Upsample(scale_factor=2, mode="nearest"), 960),
    ],
    ids=written,
)
def test_thop_0_1_counts_a_layer_by_its_class(layer: Callable[[], nn.Module], thop: int) -> None:
    assert count(alone(layer), SHAPE, "thop_0_1").value == thop


@pytest.mark.parametrize(
    ("name", "total"),
    # thop.profile of thop 0.1.1.post2209072238 on timm 1.0.31, on meta (2026-11-24).
    [
        ("resnest14d", 2_779_339_136),
        ("vit_tiny_patch16_224", 1_074_851_328),
        ("hrnet_w18_small", 1_624_864_192),
        ("levit_128s", 285_449_216),
    ],
)
def test_thop_0_1_itself_gives_the_same_number(name: str, total: int) -> None:
    model = architecture(name)
    assert count(model, model.pretrained_cfg["input_size"], "thop_0_1").value == total


# fvcore


@pytest.mark.parametrize(
    ("layer", "fvcore"),
    [
        (lambda: nn.Conv2d(4, 8, 3, padding=1), 8 * 60 * 4 * 9),
        (lambda: nn.Conv2d(4, 8, 3, padding="same"), 0),
        (lambda: nn.Linear(10, 3), 24 * 10 * 3),
        (lambda: nn.BatchNorm2d(4), 2 * 240),
        (lambda: nn.BatchNorm2d(4, affine=False), 240),
        (lambda: nn.BatchNorm2d(4, track_running_stats=False), 5 * 240),
        (lambda: nn.BatchNorm2d(4, affine=False, track_running_stats=False), 4 * 240),
        (lambda: nn.LayerNorm(10), 5 * 240),
        (lambda: nn.LayerNorm(10, elementwise_affine=False), 4 * 240),
        (lambda: nn.GroupNorm(2, 4), 5 * 240),
        (lambda: nn.InstanceNorm2d(4), 4 * 240),
        (lambda: nn.AdaptiveAvgPool2d(1), 240),
        (lambda: nn.AvgPool2d(2), 0),
        (lambda: nn.Upsample(scale_factor=2, mode="nearest"), 960),
        (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), 4 * 960),
        (lambda: Calling(lambda x: x.mean((2, 3))), 0),
        (lambda: Calling(lambda x: x @ x.transpose(2, 3)), 4 * 6 * 10 * 6),
        (lambda: Calling(lambda x: functional.grid_sample(x, torch.empty(1, 3, 5, 2))), 4 * 4 * 15),
    ],
    ids=written,
)
def test_fvcore_counts_an_operator_by_its_rule(layer: Callable[[], nn.Module], fvcore: int) -> None:
    assert count(alone(layer), SHAPE, "fvcore").value == fvcore


@pytest.mark.parametrize(
    ("name", "total"),
    # FlopCountAnalysis(...).total() of fvcore 0.1.5 on timm 1.0.31 with set_fused_attn(False), on the CPU (2026-11-24).
    [
        ("mobilenetv3_large_100", 225_436_416),
        ("convnext_atto", 552_053_760),
        ("levit_128s", 307_239_776),
        ("mobilevit_xxs", 418_204_160),
        ("xcit_nano_12_p16_224", 557_202_560),
        ("test_vit3", 94_972_800),
    ],
)
def test_fvcore_itself_gives_the_same_number(name: str, total: int) -> None:
    model = architecture(name)
    assert count(model, model.pretrained_cfg["input_size"], "fvcore").value == total


def test_fvcore_with_fused_attention_misses_its_products() -> None:
    recorded = trace(architecture("test_vit3"), (1, 3, 160, 160))
    rule: Convention = importlib.import_module("zoo.flops.conventions.fvcore")
    # The same source, with fused attention left on.
    assert rule.VARIANTS["without fused attention"](recorded) == 77_326_080


# torchvision


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "vit_b_16"])
def test_torchvision_publishes_this_number_to_its_three_decimals(name: str) -> None:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    size = weights.transforms().crop_size[0]
    with meta_build():
        model = torchvision.models.get_model(name).eval()
    assert round(count(model, (3, size, size), "torchvision").value / 1e9, 3) == weights.meta["_ops"]
