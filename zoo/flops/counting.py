"""Count a module's parameters, its multiply-adds, and the other numbers that are called FLOPs.

A forward pass is recorded without memory and without weights (zoo.flops.tracing), and each convention in
zoo/flops/conventions computes its number from the trace. `solve` finds the convention and the input of a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from zoo import plugins
from zoo.errors import CannotCheck
from zoo.flops.conventions import ATTENTION, CONVOLUTIONS, PRODUCTS, Trace
from zoo.flops.tracing import Shape, trace

if TYPE_CHECKING:
    import torch


# The size in pixels of PyTorch Hub's dog.jpg, which the example on timm's model pages resizes and does not crop:
# https://github.com/pytorch/hub/raw/master/images/dog.jpg (2021 to 2024).
PHOTOGRAPH_WIDTH, PHOTOGRAPH_HEIGHT = 1546, 1213


# The part of a number that operators without a formula may hide; with more, the number is unknown. Publishers round to
# three digits, which hides a smaller part.
HIDDEN_SHARE = 0.001


# The default input sizes of ImageNet models; a number without its input was often counted at one of them.
COMMON_SIZES = (224, 256)


@dataclass(frozen=True, slots=True)
class Count:
    """The count of a forward pass of one image under a convention.

    convention: a name in zoo/flops/conventions; value: in the convention's unit; input_shape: (channels, height, width).
    by_operator, by_module: (name, amount), the largest first; the module "" is what the root itself computes.
    unknown_operators: operators without a formula, whose total is negligible (otherwise `count` raises).
    """

    convention: str
    value: int
    input_shape: Shape
    by_operator: tuple[tuple[str, int], ...]
    by_module: tuple[tuple[str, int], ...]
    unknown_operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """The size of a module's parameters and buffers.

    params: elements of all parameters, a shared one once; trainable: elements of those that require a gradient; buffers:
    elements of all buffers. state_bytes: bytes of parameters and persistent buffers in a file; entries: number of entries
    of the state dict. dtype: of the parameters, several joined by "+". by_child: (top-level module, its parameters).
    """

    params: int
    trainable: int
    buffers: int
    state_bytes: int
    entries: int
    dtype: str
    by_child: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """A convention and an input that give a number.

    variant: how the count differs from the convention, "" if it does not; batch: images; value: the exact count.
    """

    convention: str
    variant: str
    batch: int
    input_shape: Shape
    value: int


@dataclass(frozen=True, slots=True)
class Solution:
    """The explanations of a number: `fits` in the order of likelihood, empty when nothing gives the number.

    macs: the multiply-adds at the model's own input; ratio: the number divided by them.
    """

    value: int
    fits: tuple[Fit, ...]
    macs: int
    ratio: float


def count(module: torch.nn.Module, input_shape: Sequence[int], convention: str = "macs", *, depth: int = 1) -> Count:
    """Count one forward pass of one image under a convention.

    module: on the meta device (see meta.meta_build), in eval mode; input_shape: (channels, height, width); depth: how many
    levels of submodules `by_module` has, 1 for the top-level modules.
    Raises UnknownName for an unknown convention; CannotCheck when the module does not run at this shape, or when operators
    without a formula may hide more than HIDDEN_SHARE of the number.
    """
    return tally(trace(module, (1, *input_shape)), convention, depth=depth)


def tally(trace: Trace, convention: str, *, depth: int = 1) -> Count:
    """Return the count of a recorded forward pass under a convention; raises as `count` does."""
    rule = plugins.load("conventions", convention)
    shares = list(rule.tally(trace))
    value = sum(share.amount for share in shares)
    unknown = unknown_operators(trace)
    if rule.EVERY_OPERATOR:
        _refuse_hidden(unknown, value)
    return Count(
        convention=convention,
        value=value,
        input_shape=trace.input_shape[1:],
        by_operator=_totals((share.operator, share.amount) for share in shares),
        by_module=_totals((".".join(share.path.split(".")[:depth]), share.amount) for share in shares),
        unknown_operators=tuple(sorted(unknown)),
    )


def activations(trace: Trace) -> int:
    """Return the number of output elements of convolutions, linear layers and products, timm's `infer_macts`.

    Source: fvcore 0.1.5, fvcore/nn/activation_count.py. An attention counts with its two products, as if it were not fused;
    a convolution with a named padding ("same") does not count.
    """
    total = 0
    for call in trace.operators:
        if call.operator in PRODUCTS or (call.operator in CONVOLUTIONS and not call.is_padded_by_word):
            total += prod(call.outputs[0].shape)
        elif call.operator == ATTENTION:
            query, keys = call.shape(0) or (), call.shape(1) or ()
            total += prod(query[:-1]) * keys[-2] + prod(call.outputs[0].shape)
    return total


def unknown_operators(trace: Trace) -> dict[str, int]:
    """Return the operators without a formula, each with an upper bound on the multiply-adds that it may hide.

    The bound of a call is the largest product of the sizes of two of its tensors, arguments and results: a linear map
    from n numbers to m takes at most n x m multiply-adds, and a bilinear map of n and m numbers adds up at most n x m
    products. The bound is coarse, so that an operator whose bound is negligible is certainly negligible.
    """
    bounds: Counter[str] = Counter()
    for call in trace.operators:
        for operator, bound in call.unknown:
            bounds[operator] += bound
    return dict(bounds)


def _refuse_hidden(unknown: Mapping[str, int], value: int) -> None:
    if sum(unknown.values()) > HIDDEN_SHARE * value:
        raise CannotCheck(
            f"no formula for {', '.join(sorted(unknown))}, which may add more than {HIDDEN_SHARE:.1%} to the {value:,} "
            "that were counted",
            hint="register a formula with torch.utils.flop_counter.register_flop_formula",
        )


def measure_state(module: torch.nn.Module) -> State:
    """Measure parameters, buffers and the bytes of the state dict. The module may be on the meta device."""
    params = list(module.parameters())
    entries = module.state_dict()
    stored = [value for name, value in (*module.named_parameters(), *module.named_buffers()) if name in entries]
    return State(
        params=sum(p.numel() for p in params),
        trainable=sum(p.numel() for p in params if p.requires_grad),
        buffers=sum(b.numel() for b in module.buffers()),
        state_bytes=sum(value.numel() * value.element_size() for value in stored),
        entries=len(entries),
        dtype="+".join(sorted({str(p.dtype).removeprefix("torch.") for p in params})),
        by_child=tuple((name, sum(p.numel() for p in child.parameters())) for name, child in module.named_children()),
    )


def photograph_input(size: int) -> Shape:
    """Return the input of the counts on timm's model pages: PyTorch Hub's dog.jpg, its height resized to `size`, not cropped.

    Source: the FLOPs of all 8 models on https://huggingface.co/docs/timm/models/resnest (2021 to 2024) are counted at it.
    """
    return (3, size, int(size * PHOTOGRAPH_WIDTH / PHOTOGRAPH_HEIGHT))


def solve(module: torch.nn.Module, value: int, image_size: int, *, rounded_to: int = 1) -> Solution:
    """Find the conventions and inputs that give a number whose convention is not known.

    module: as for `count`; image_size: of the model's own input, in pixels; rounded_to: the step that the number is rounded
    to. This tries every convention and its variants at the model's size and the COMMON_SIZES, for square images and the
    photograph, for one image and for two. For an exact number it stops at the first input that gives it; for a rounded one
    it returns all.
    Raises CannotCheck when the module does not run at its own size, or its multiply-adds cannot be counted there.
    """
    own_trace = trace(module, (1, 3, image_size, image_size))
    macs = tally(own_trace, "macs").value
    fits: list[Fit] = []
    for recorded in _traces(module, own_trace, value):
        for fit in _candidates(recorded):
            if abs(fit.value - value) * 2 <= rounded_to and not _is_known(fit, fits):
                fits.append(fit)
        if fits and rounded_to == 1:
            break
    return Solution(value=value, fits=tuple(fits), macs=macs, ratio=value / macs if macs else 0.0)


def _traces(module: torch.nn.Module, own_trace: Trace, value: int) -> Iterator[Trace]:
    """Yield traces at the common inputs, the likely ones first; of two images only when that comes near the number."""
    sizes = dict.fromkeys((own_trace.input_shape[-1], *COMMON_SIZES))
    shapes = [shape for size in sizes for shape in ((3, size, size), photograph_input(size))]
    for shape in shapes:
        try:
            single = own_trace if shape == own_trace.input_shape[1:] else trace(module, (1, *shape))
            yield single
            # Some costs do not depend on the batch (a table of positions), so the count is not simply doubled.
            if any(abs(2 * fit.value - value) < 0.01 * value for fit in _candidates(single)):
                yield trace(module, (2, *shape))
        except CannotCheck:
            continue


def _candidates(trace: Trace) -> Iterator[Fit]:
    """Yield the count of a trace under each convention, then under each variant."""
    batch, *shape = trace.input_shape
    rules = {name: plugins.load("conventions", name) for name in _by_likelihood(plugins.names("conventions"))}
    unknown = unknown_operators(trace)
    for name, rule in rules.items():
        value = sum(share.amount for share in rule.tally(trace))
        if not rule.EVERY_OPERATOR or sum(unknown.values()) <= HIDDEN_SHARE * value:
            yield Fit(name, "", batch, tuple(shape), value)
    for name, rule in rules.items():
        for variant, rule_of_variant in rule.VARIANTS.items():
            yield Fit(name, variant, batch, tuple(shape), rule_of_variant(trace))


def _by_likelihood(names: Iterable[str]) -> list[str]:
    order = ("macs", "flops", "thop", "thop_0_1", "fvcore")
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _is_known(fit: Fit, fits: Sequence[Fit]) -> bool:
    return any((fit.value, fit.batch, fit.input_shape) == (old.value, old.batch, old.input_shape) for old in fits)


def _totals(amounts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    totals: Counter[str] = Counter()
    for name, amount in amounts:
        totals[name] += amount
    return tuple(totals.most_common())
