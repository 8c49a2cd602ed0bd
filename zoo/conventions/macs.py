"""Multiply-adds: one multiplication with its addition counts as one, everything else as nothing.

Matrix products, convolutions and attention, by the formulas of torch.utils.flop_counter, halved (it counts two).
He et al. 2015, "Deep Residual Learning", table 1, counts this way and calls it FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterator

from zoo.conventions import Share, Trace

EVERY_OPERATOR = True


def tally(trace: Trace) -> Iterator[Share]:
    """The multiply-adds of each operator."""
    return (Share(call.path, call.operator, call.macs) for call in trace.operators if call.macs)
