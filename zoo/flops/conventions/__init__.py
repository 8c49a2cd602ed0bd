"""What "FLOPs" means: one file a convention, each a rule that turns the record of a forward pass into a number.

A convention is a module; its docstring says what it counts (the first line is shown to users) and it has

    EVERY_OPERATOR: bool             the number is about all operators, so that one without a formula makes it unknown;
                                     False where the convention itself leaves out whatever it has no rule for
    tally(trace) -> Iterator[Share]  the non-zero parts of the number, in the order in which they ran
    VARIANTS: Mapping[str, rule]     the same number as people get it with one thing done differently: "without the
                                     classifier" -> trace -> int; only the solver reads it

A convention sees a `Trace` and nothing else, imports this module and no other convention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch


class Layout(NamedTuple):
    """What stands for a tensor in a record: all that can change the shape of a result.

    on_meta: False for a tensor that holds values.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    on_meta: bool


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One operator as the module called it, undecomposed: `aten.conv2d`, `aten.linear`, `aten.batch_norm`.

    path: the innermost module that called it, as `named_modules` spells it; "" is the root.
    arguments: positional, a Layout in place of each tensor; outputs: the Layouts of its results.
    macs: multiply-adds, those of the operators that it decomposes into included.
    unknown: (operator, bound) for each operator inside that has no formula; see `zoo.flops.counting.unknown_operators`.
    """

    path: str
    operator: str
    arguments: tuple[object, ...]
    outputs: tuple[Layout, ...]
    macs: int
    unknown: tuple[tuple[str, int], ...] = ()

    def shape(self, position: int) -> tuple[int, ...] | None:
        """The shape of the tensor given at this position, None where none was given (a norm without weight)."""
        value = self.arguments[position] if position < len(self.arguments) else None
        return value.shape if isinstance(value, Layout) else None

    @property
    def is_padded_by_word(self) -> bool:
        """Whether a convolution's padding is given as "same" or "valid": another operator to torch's tracer."""
        return len(self.arguments) > 4 and isinstance(self.arguments[4], str)


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a module: its path, the module, and the shapes of the first tensor in and of the first out."""

    path: str
    module: torch.nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The full name of its exact class: `torch.nn.modules.conv.Conv2d`."""
        return f"{type(self.module).__module__}.{type(self.module).__qualname__}"


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward pass: what was called, in the order in which it returned, so that the root is the last of `modules`.

    input_shape has the batch in front. Operators that only view, or that compute element by element, are left out: no
    convention counts them.
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

    @property
    def EVERY_OPERATOR(self) -> bool:
        """Whether an operator without a formula makes the number unknown."""

    @property
    def VARIANTS(self) -> Mapping[str, Callable[[Trace], int]]:
        """The same number with one thing counted differently, by what differs."""

    def tally(self, trace: Trace) -> Iterator[Share]:
        """The non-zero parts of the number."""


# The operators that compute a convolution, a linear layer or a product of matrices, as modules call them.
CONVOLUTIONS = frozenset(
    f"aten.{name}"
    for name in (
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "convolution",
    )
)
PRODUCTS = frozenset(f"aten.{name}" for name in ("linear", "matmul", "bmm", "addmm", "einsum"))
ATTENTION = "aten.scaled_dot_product_attention"


def classifier(trace: Trace) -> ModuleCall | None:
    """The linear layer or convolution that gives the logits; None when the model's output is no (batch, classes)."""
    logits = trace.modules[-1].output_shape
    if len(logits) != 2:
        return None
    layers = (call for call in reversed(trace.modules) if type(call.module).__name__ in ("Linear", "Conv2d"))
    return next((call for call in layers if prod(call.output_shape) == prod(logits)), None)
