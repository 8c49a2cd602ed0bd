"""Multiply-adds: a multiplication and its addition count as one, and nothing else counts.

This counts matrix products, convolutions and attention by the formulas of torch.utils.flop_counter, which counts a
multiply-add as two, divided by two. He et al. 2015, "Deep Residual Learning for Image Recognition", table 1, counts in this
way and calls the number FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from zoo.flops.conventions import CONVOLUTIONS, Share, Trace, classifier

EVERY_OPERATOR = True


def tally(trace: Trace) -> Iterator[Share]:
    """Yield the multiply-adds of each operator."""
    return (Share(call.path, call.operator, call.macs) for call in trace.operators if call.macs)


def _without_classifier(trace: Trace) -> int:
    last = classifier(trace)
    return sum(share.amount for share in tally(trace) if last is None or share.path != last.path)


def _with_bias(trace: Trace) -> int:
    """Count one more for each output element of a layer with a bias, as ptflops does."""
    bias = 0
    for call in trace.operators:
        if (call.operator in CONVOLUTIONS or call.operator == "aten.linear") and call.shape(2) is not None:
            bias += prod(call.outputs[0].shape)
    return bias + sum(share.amount for share in tally(trace))


VARIANTS = {"without the classifier": _without_classifier, "with biases": _with_bias}
