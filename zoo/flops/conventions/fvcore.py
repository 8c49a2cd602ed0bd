"""The count of fvcore: multiply-adds, normalisation, adaptive pooling, resizing and sampling.

Source of the rules: fvcore 0.1.5, fvcore/nn/flop_count.py and jit_handles.py. timm's benchmark tables (`infer_gmacs`)
are made with it. fvcore has no rule for fused attention. timm disables fused attention to count its products, which
are counted here too; VARIANTS has the number with fused attention enabled. fvcore has no rule for a convolution with a named
padding (`padding="same"`) either, which counts as zero, as in timm's numbers for ConvMixer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from zoo.flops.conventions import ATTENTION, CONVOLUTIONS, PRODUCTS, OperatorCall, Share, Trace

EVERY_OPERATOR = False


def tally(trace: Trace) -> Iterator[Share]:
    """Yield the count of each operator."""
    for call in trace.operators:
        rule = _RULES.get(call.operator)
        amount = rule(call) if rule else 0
        if amount:
            yield Share(call.path, call.operator, amount)


def _multiply_adds(call: OperatorCall) -> int:
    return call.macs


def _convolution(call: OperatorCall) -> int:
    return 0 if call.is_padded_by_word else call.macs


def _input(call: OperatorCall) -> int:
    return prod(call.shape(0) or ())


def _output(call: OperatorCall) -> int:
    return prod(call.outputs[0].shape)


def _batch_norm(call: OperatorCall) -> int:
    """Count a scale and a shift with stored statistics, otherwise as any other norm."""
    uses_own_statistics = bool(call.arguments[5])
    if uses_own_statistics:
        return _norm(1)(call)
    return _input(call) * (2 if call.shape(1) else 1)


def _norm(weight: int) -> Callable[[OperatorCall], int]:
    """Return fvcore's estimate: 5 operations for each element, 4 without a weight; weight: its position."""
    return lambda call: _input(call) * (5 if call.shape(weight) else 4)


_RULES: dict[str, Callable[[OperatorCall], int]] = {
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys((*PRODUCTS, ATTENTION), _multiply_adds),
    "aten.batch_norm": _batch_norm,
    "aten.instance_norm": _norm(1),
    "aten.group_norm": _norm(2),
    "aten.layer_norm": _norm(2),
    "aten.adaptive_avg_pool2d": _input,
    "aten.upsample_nearest2d": _output,
    "aten.upsample_bilinear2d": lambda call: 4 * _output(call),
    "aten.grid_sampler": lambda call: 4 * _output(call),
}


def _without(operators: frozenset[str]) -> Callable[[Trace], int]:
    return lambda trace: sum(share.amount for share in tally(trace) if share.operator not in operators)


VARIANTS = {
    "without fused attention": _without(frozenset({ATTENTION})),
    "without batch norm": _without(frozenset({"aten.batch_norm"})),
}
