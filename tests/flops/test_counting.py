"""Numbers by hand for modules by hand; torch's own counter, and what timm publishes, for real ones."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from zoo.errors import CannotCheck, UnknownName
from zoo.flops.counting import activations, count, measure_state, photograph_input, solve, tally, unknown_operators
from zoo.flops.tracing import trace
from zoo.models.meta import meta_build


class Small(nn.Module):
    """A convolution with bias, a norm, two poolings and a classifier: every convention counts another number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(self.stem(x)).flatten(1))


CONVOLUTION = 8 * 8 * 8 * (3 * 3 * 3)
"""Of Small at 8 x 8: eight maps of 64 outputs, each of 27 products."""
CLASSIFIER = 8 * 10
SHAPE = (3, 8, 8)


def on_meta(kind: type[nn.Module], *arguments: object) -> nn.Module:
    with meta_build():
        return kind(*arguments).eval()


def architecture(name: str, **options: Any) -> Any:
    with meta_build():
        return timm.create_model(name, **options).eval()


@pytest.fixture(scope="module")
def resnest14d() -> nn.Module:
    return architecture("resnest14d")


# Counting


def test_multiply_adds_are_those_of_convolution_and_classifier() -> None:
    counted = count(on_meta(Small), SHAPE)
    assert (counted.convention, counted.value, counted.input_shape) == ("macs", CONVOLUTION + CLASSIFIER, SHAPE)
    assert counted.by_operator == (("aten.conv2d", CONVOLUTION), ("aten.linear", CLASSIFIER))
    assert counted.by_module == (("stem", CONVOLUTION), ("fc", CLASSIFIER))
    assert counted.unknown_operators == ()


def test_depth_is_the_number_of_levels_of_modules() -> None:
    assert count(on_meta(Small), SHAPE, depth=2).by_module == (("stem.0", CONVOLUTION), ("fc", CLASSIFIER))


def test_another_input_gives_another_number() -> None:
    assert count(on_meta(Small), (3, 8, 16)).value == 2 * CONVOLUTION + CLASSIFIER


def test_the_roots_own_operators_have_an_empty_name() -> None:
    class Functional(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.conv2d(x, torch.empty(4, 3, 1, 1))

    assert count(on_meta(Functional), SHAPE).by_module == (("", 64 * 3 * 4),)


def test_a_layer_called_again_counts_again() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(self.conv(x))

    assert count(on_meta(Twice), SHAPE).value == 2 * 64 * 9


def test_layers_of_one_shape_and_different_strides_are_distinguished() -> None:
    pair = on_meta(nn.Sequential, nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1, stride=2))
    assert count(pair, SHAPE).value == (64 + 16) * 9


def test_attention_counts_both_of_its_products() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.scaled_dot_product_attention(x, x, x)

    # Three heads; eight queries by eight keys of eight channels, then their eight by eight weights by the values.
    assert count(on_meta(Attention), SHAPE).value == 3 * 2 * 8 * 8 * 8


def test_a_product_within_an_einsum_counts() -> None:
    class Contraction(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("bchw,bdhw->bcd", x, x)

    assert count(on_meta(Contraction), SHAPE).value == 3 * 3 * 64


@pytest.mark.parametrize(
    "name", ["resnet10t", "test_vit3", "test_mambaout", "levit_128s", "mobilevit_xxs", "halonet26t"]
)
def test_torchs_own_counter_agrees(name: str) -> None:
    model = architecture(name).requires_grad_(False)
    shape = model.pretrained_cfg["input_size"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *shape, device="meta"))
    assert 2 * count(model, shape).value == counter.get_total_flops()


def test_counting_does_not_change_the_module() -> None:
    small = on_meta(Small)
    before = {name: value.requires_grad for name, value in small.named_parameters()}
    count(small, SHAPE)
    assert {name: value.requires_grad for name, value in small.named_parameters()} == before
    assert not small.training
    assert not nn.modules.module._global_forward_hooks


def test_a_shape_that_does_not_fit_is_named_and_no_hook_stays() -> None:
    with pytest.raises(CannotCheck, match=r"^Small does not run on an input of 1x4x8x8: "):
        count(on_meta(Small), (4, 8, 8))
    assert not nn.modules.module._global_forward_hooks
    assert not nn.modules.module._global_forward_pre_hooks


def test_an_unknown_convention_gets_the_nearest_names() -> None:
    with pytest.raises(UnknownName) as caught:
        count(on_meta(Small), SHAPE, "mac")
    assert caught.value.hint == "did you mean 'macs'?"


# Operators without a formula


class Fourier(nn.Module):
    """A convolution, and a Fourier transform of some of its numbers."""

    def __init__(self, transformed: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3, padding=1)
        self.transformed = transformed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        torch.fft.fft(y.flatten()[: self.transformed])
        return y


def test_an_operator_without_a_formula_that_may_matter_makes_the_number_unknown() -> None:
    with pytest.raises(
        CannotCheck, match=r"no formula for aten\._fft_r2c, which may add more than 0.1% to the 110,592"
    ):
        count(on_meta(Fourier, 64), SHAPE)


def test_a_negligible_operator_without_a_formula_is_named_with_the_number() -> None:
    counted = count(on_meta(Fourier, 10), SHAPE)
    assert counted.value == 64 * 64 * 27
    assert counted.unknown_operators == ("aten._fft_r2c",)


def test_the_bound_is_the_largest_product_of_two_of_its_tensors() -> None:
    recorded = trace(on_meta(Fourier, 10), (1, *SHAPE))
    # Ten numbers in, ten out.
    assert unknown_operators(recorded) == {"aten._fft_r2c": 100}


def test_an_in_place_product_is_unknown_instead_of_zero() -> None:
    class InPlace(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[0, 0].clone().addmm_(x[0, 0], x[0, 0])

    with pytest.raises(CannotCheck, match=r"no formula for aten\.addmm_"):
        count(on_meta(InPlace), SHAPE)


def test_a_convention_that_ignores_unknown_operators_still_has_a_number() -> None:
    # One multiplication by thop's rules for each of the 27 products, and one for the bias.
    assert count(on_meta(Fourier, 64), SHAPE, "thop").value == 64 * 64 * 28


def test_values_that_the_forward_pass_reads_are_real() -> None:
    class ReadsValues(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for first in (1, 2):
                kernel = int(torch.tensor([first, 2], device="cpu").sum())
                x = functional.conv2d(x, torch.empty(3, 3, kernel, 1))
            return x

    # Kernels of three and of four rows: six, then three rows of outputs.
    assert count(on_meta(ReadsValues), SHAPE).value == 3 * 6 * 8 * 9 + 3 * 3 * 8 * 12


# Activations


def test_activations_are_the_outputs_of_convolution_and_classifier() -> None:
    assert activations(trace(on_meta(Small), (1, *SHAPE))) == 8 * 64 + 10


def test_activations_exclude_a_convolution_with_a_named_padding() -> None:
    pair = on_meta(nn.Sequential, nn.Conv2d(3, 5, 3, padding="same"), nn.Conv2d(5, 7, 1))
    assert activations(trace(pair, (1, *SHAPE))) == 7 * 64


@pytest.mark.parametrize(
    ("name", "millions"),
    # infer_macts of timm's benchmark-infer-amp-nchw-pt240-cu124-rtx4090.csv (github.com/huggingface/pytorch-image-models).
    [("test_vit", 0.48), ("test_efficientnet", 0.55), ("tinynet_e", 0.69)],
)
def test_activations_are_those_that_timm_publishes(name: str, millions: float) -> None:
    model = architecture(name)
    assert round(activations(trace(model, (1, *model.pretrained_cfg["input_size"]))) / 1e6, 2) == millions


# State


class Holding(nn.Module):
    """A shared, a frozen and a half-precision parameter; a persistent buffer and one that is not stored."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5, bias=False)
        self.again = nn.Linear(4, 5, bias=False)
        self.again.weight = self.first.weight
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.tiny = nn.Parameter(torch.zeros(2, dtype=torch.float16))
        self.register_buffer("stored", torch.zeros(7, dtype=torch.int64))
        self.register_buffer("computed", torch.zeros(11), persistent=False)


@pytest.mark.parametrize("build", [Holding, lambda: on_meta(Holding)], ids=["real", "on meta"])
def test_state_counts_shared_frozen_and_unstored_tensors(build: type[Holding]) -> None:
    state = measure_state(build())
    assert state.params == 20 + 3 + 2
    assert state.trainable == 20 + 2
    assert state.buffers == 7 + 11
    assert state.state_bytes == 4 * (20 + 3) + 2 * 2 + 8 * 7
    assert state.entries == 5
    assert state.dtype == "float16+float32"
    assert state.by_child == (("first", 20), ("again", 20))


def test_state_of_a_published_model_is_what_its_file_holds(resnest14d: nn.Module) -> None:
    state = measure_state(resnest14d)
    # The page rounds the parameters to 10,610,000; the file has 42,562,639 bytes, names and padding included.
    assert (state.params, state.state_bytes, state.dtype) == (10_611_688, 42_536_280, "float32")


# Inputs


@pytest.mark.parametrize(("size", "width"), [(224, 285), (256, 326), (320, 407), (416, 530)])
def test_the_photograph_is_as_wide_as_the_published_numbers_say(size: int, width: int) -> None:
    assert photograph_input(size) == (3, size, width)


# Building


def test_allocations_fills_and_initialisation_stay_on_meta() -> None:
    with meta_build():
        layer = nn.Linear(3, 4)
        nn.init.trunc_normal_(layer.weight)
        nn.init.constant_(tensor=layer.bias, val=1.0)
        layer.weight.data.normal_().mul_(2)
    assert all(value.is_meta for value in layer.parameters())


def test_a_real_tensor_is_initialised() -> None:
    with meta_build():
        real = nn.init.trunc_normal_(torch.tensor([9.0] * 50), std=0.1)
    assert not real.is_meta
    assert 0 < float(real.abs().max()) <= 2


def test_a_constructor_may_read_what_it_computes() -> None:
    class Widths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = (torch.arange(1, 4) * 8).tolist()
            self.layers = nn.ModuleList(nn.Conv2d(width, width, 1) for width in widths)
            self.register_buffer("index", torch.arange(5))
            self.scale = nn.Parameter(torch.linspace(0, 1, 6), requires_grad=False)

    built = on_meta(Widths)
    assert [layer.in_channels for layer in built.layers] == [8, 16, 24]
    assert built.index.is_meta
    assert built.scale.is_meta
    assert isinstance(built.scale, nn.Parameter)
    assert not built.scale.requires_grad


def test_a_real_tensor_combined_with_a_meta_tensor_moves_to_meta() -> None:
    with meta_build():
        joined = torch.cat([torch.arange(3.0), torch.rand(3) * torch.linspace(0, 1, 3)])
        assert joined.is_meta
        with pytest.raises(RuntimeError, match="must match"):
            _ = torch.arange(3) * torch.arange(2)
    assert joined.shape == (6,)


def test_an_explicit_device_is_kept() -> None:
    with meta_build():
        assert torch.zeros(2, device="cpu").tolist() == [0.0, 0.0]


def test_another_thread_builds_real_tensors_meanwhile() -> None:
    built: list[nn.Module] = []
    with meta_build():
        thread = threading.Thread(target=lambda: built.append(nn.BatchNorm2d(3)))
        thread.start()
        thread.join()
    assert not built[0].weight.is_meta
    assert not built[0].running_mean.is_meta


def test_modules_are_real_again_after_building_on_meta() -> None:
    with pytest.raises(ZeroDivisionError), meta_build():
        _ = 1 / 0
    layer = nn.BatchNorm2d(3)
    assert not layer.weight.is_meta
    assert not layer.running_mean.is_meta


# Solving


def test_the_number_on_timms_page_is_thops_on_a_photograph(resnest14d: nn.Module) -> None:
    solution = solve(resnest14d, 3_548_594_464, 224)
    (fit,) = solution.fits
    assert (fit.convention, fit.variant, fit.batch, fit.input_shape) == ("thop", "", 1, (3, 224, 285))
    assert solution.macs == 2_749_405_184
    assert round(solution.ratio, 3) == 1.291


@pytest.mark.parametrize(
    ("value", "convention", "variant", "batch", "shape"),
    [
        (CONVOLUTION + CLASSIFIER, "macs", "", 1, (3, 8, 8)),
        (2 * (CONVOLUTION + CLASSIFIER), "flops", "", 1, (3, 8, 8)),
        (CONVOLUTION, "macs", "without the classifier", 1, (3, 8, 8)),
        (CONVOLUTION + CLASSIFIER + 512 + 10, "macs", "with biases", 1, (3, 8, 8)),
        (CONVOLUTION * 28 * 28 + CLASSIFIER, "macs", "", 1, (3, 224, 224)),
        (CONVOLUTION * 32 * 32 + CLASSIFIER, "macs", "", 1, (3, 256, 256)),
        (8 * 224 * 285 * 27 + CLASSIFIER, "macs", "", 1, (3, 224, 285)),
    ],
)
def test_the_solver_finds_convention_variant_and_input(
    value: int, convention: str, variant: str, batch: int, shape: tuple[int, int, int]
) -> None:
    fit = solve(on_meta(Small), value, 8).fits[0]
    assert (fit.convention, fit.variant, fit.batch, fit.input_shape, fit.value) == (
        *(convention, variant, batch, shape),
        value,
    )


def test_a_number_for_two_images_is_recognised() -> None:
    thop = tally(trace(on_meta(Small), (2, *SHAPE)), "thop").value
    (fit,) = solve(on_meta(Small), thop, 8).fits
    assert (fit.convention, fit.batch, fit.input_shape) == ("thop", 2, SHAPE)


def test_a_number_that_nothing_gives_has_no_fit_and_its_ratio() -> None:
    solution = solve(on_meta(Small), 3 * (CONVOLUTION + CLASSIFIER) + 1, 8)
    assert solution.fits == ()
    assert round(solution.ratio, 2) == 3.0


def test_a_rounded_number_has_every_fit_within_half_a_step() -> None:
    # 13,904 multiply-adds are 14 thousand to the next thousand, and so are they without the classifier and with biases.
    fits = solve(on_meta(Small), 14_000, 8, rounded_to=1000).fits
    assert [(fit.convention, fit.variant, fit.value) for fit in fits] == [
        ("macs", "", 13_904),
        ("macs", "without the classifier", 13_824),
        ("macs", "with biases", 14_426),
        ("fvcore", "without batch norm", 14_032),
    ]


@pytest.mark.parametrize("value", [CONVOLUTION + CLASSIFIER + 1, 0])
def test_an_exact_number_is_not_rounded(value: int) -> None:
    assert solve(on_meta(Small), value, 8).fits == ()


def test_a_model_that_does_not_run_at_its_own_size_cannot_be_solved() -> None:
    with pytest.raises(CannotCheck, match="does not run on an input of 1x3x1x1"):
        solve(on_meta(Small), 1, 1)
