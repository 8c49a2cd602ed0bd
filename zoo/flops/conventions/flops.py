"""Floating-point operations: a multiply-add counts as two, and nothing else counts.

torch.utils.flop_counter.FlopCounterMode prints this number, and papers on language models call it FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from zoo.flops.conventions import Share, Trace

EVERY_OPERATOR = True
VARIANTS: Mapping[str, Callable[[Trace], int]] = {}


def tally(trace: Trace) -> Iterator[Share]:
    """Yield twice the multiply-adds of each operator."""
    return (Share(call.path, call.operator, 2 * call.macs) for call in trace.operators if call.macs)
