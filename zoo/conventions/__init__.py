"""What "FLOPs" means: one file a convention, each a rule that turns the record of a forward pass into numbers.

A convention is a module with a docstring (its first line is shown to users) and two names:

    EVERY_OPERATOR: bool             the number is about all operators, so one without a formula makes it unknown;
                                     False where the convention itself leaves out what it has no rule for
    tally(trace) -> Iterator[Share]  the non-zero parts of the number, in the order in which they ran

A convention sees a `Trace` and nothing else. It imports this module and no other convention.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch


class Layout(NamedTuple):
    """What stands for a tensor in a record: everything that can change the shape of a result."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One operator as the module called it, undecomposed: `aten.conv2d`, `aten.linear`, `aten.scaled_dot_product_attention`.

    path: the innermost module that called it, as `named_modules` spells it; "" is the root.
    arguments: positional, a Layout in place of each tensor; outputs: the Layouts of its results.
    macs: multiply-adds, those of the operators that it decomposes into included.
    unknown: (operator, bound) for each operator inside that has no formula; see zoo.counting for the bound.
    """

    path: str
    operator: str
    arguments: tuple[object, ...]
    outputs: tuple[Layout, ...]
    macs: int
    unknown: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a module: its path, the module, and the shapes of the first tensor in and of the first out."""

    path: str
    module: torch.nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward pass: what was called, in order. `input_shape` has the batch in front.

    Operators that only view, write or compute element by element are left out: no convention counts them.
    """

    root: torch.nn.Module
    input_shape: tuple[int, ...]
    operators: tuple[OperatorCall, ...] = field(repr=False)
    modules: tuple[ModuleCall, ...] = field(repr=False)


class Share(NamedTuple):
    """A part of a count: which module, which operator or kind of layer, how much."""

    path: str
    operator: str
    amount: int


class Convention(Protocol):
    """What a module of this folder offers; see the module docstring."""

    EVERY_OPERATOR: bool

    def tally(self, trace: Trace) -> Iterator[Share]:
        """The non-zero parts of the number."""
