"""The `_ops` that torchvision publishes: multiply-adds of one image at the crop size of the weights.

torchvision divides by 1e9 and keeps three decimals, so a claim copied from it is `rounded_to: 1000000`. Its own counter
(torchvision 0.27, test/common_extended_utils.py) has formulas for products, convolutions and attention, and silently ignores
all other operators, which is its only difference from `macs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from zoo.flops.conventions import Share, Trace

EVERY_OPERATOR = False
VARIANTS: Mapping[str, Callable[[Trace], int]] = {}


def tally(trace: Trace) -> Iterator[Share]:
    """Yield the multiply-adds of each operator."""
    return (Share(call.path, call.operator, call.macs) for call in trace.operators if call.macs)
