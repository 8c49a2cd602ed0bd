"""Define the contract of a convention, a meaning of "FLOPs": one module per convention computes its number from a trace.

The docstring of a convention says what it counts; users see its first line. A convention has

    EVERY_OPERATOR: bool             True when the number is about all operators, so that an operator without a formula
                                     makes it unknown; False when the convention ignores operators without a rule
    tally(trace) -> Iterator[Share]  the parts of the number that are not zero, in the order of execution
    VARIANTS: Mapping[str, rule]     common ways to count with one difference: "without the classifier" -> trace -> int;
                                     only the solver uses them

A convention gets a `Trace` and nothing else. It imports this module and no other convention.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch


class Layout(NamedTuple):
    """What a trace records of a tensor: everything that can change the shape of a result.

    on_meta: False for a tensor that has values.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    on_meta: bool


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One operator as the module called it, not decomposed: `aten.conv2d`, `aten.linear`, `aten.batch_norm`.

    path: the innermost module that called it, by its name in `named_modules`; "" is the root.
    arguments: the positional ones, with a Layout for each tensor; outputs: the Layouts of its results.
    macs: multiply-adds, including those of the operators that it decomposes into.
    unknown: (operator, bound) for each operator inside that has no formula; see `zoo.flops.counting.unknown_operators`.
    """

    path: str
    operator: str
    arguments: tuple[object, ...]
    outputs: tuple[Layout, ...]
    macs: int
    unknown: tuple[tuple[str, int], ...] = ()

    def shape(self, position: int) -> tuple[int, ...] | None:
        """Return the shape of the tensor argument at this position; None when it was not given (a norm without weight)."""
        value = self.arguments[position] if position < len(self.arguments) else None
        return value.shape if isinstance(value, Layout) else None

    @property
    def is_padded_by_word(self) -> bool:
        """Whether a convolution's padding is "same" or "valid", which torch's tracer sees as another operator."""
        return len(self.arguments) > 4 and isinstance(self.arguments[4], str)


@dataclass(frozen=True, slots=True)
class ModuleCall:
    """One call of a module: its path, the module, and the shapes of its first input and its first output tensor."""

    path: str
    module: torch.nn.Module
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The full name of its exact class, such as `torch.nn.modules.conv.Conv2d`."""
        return f"{type(self.module).__module__}.{type(self.module).__qualname__}"


@dataclass(frozen=True, slots=True)
class Trace:
    """One forward pass: the calls of operators and modules in the order in which they returned; the root module is last.

    input_shape: (batch, channels, height, width). Operators that return a view or are pointwise are not recorded, because
    no convention counts them.
    """

    root: torch.nn.Module
    input_shape: tuple[int, ...]
    operators: tuple[OperatorCall, ...] = field(repr=False)
    modules: tuple[ModuleCall, ...] = field(repr=False)


class Share(NamedTuple):
    """A part of a count: the module, the operator or class of the layer, and the amount."""

    path: str
    operator: str
    amount: int


class Convention(Protocol):
    """What a module in this folder offers; see the module docstring."""

    @property
    def EVERY_OPERATOR(self) -> bool:
        """Whether an operator without a formula makes the number unknown."""

    @property
    def VARIANTS(self) -> Mapping[str, Callable[[Trace], int]]:
        """Rules that count with one difference, by the difference."""

    def tally(self, trace: Trace) -> Iterator[Share]:
        """Yield the parts of the number that are not zero."""


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
    """Return the layer that computes the logits; None when the model's output does not have the shape (batch, classes)."""
    logits = trace.modules[-1].output_shape
    if len(logits) != 2:
        return None
    layers = (call for call in reversed(trace.modules) if type(call.module).__name__ in ("Linear", "Conv2d"))
    return next((call for call in layers if prod(call.output_shape) == prod(logits)), None)
