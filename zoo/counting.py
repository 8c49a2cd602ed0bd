"""Module + input shape -> parameters, multiply-adds, and the other numbers that people call FLOPs.

Everything runs on torch's meta device: no memory, no weights, no arithmetic. One forward pass is recorded as a `Trace`
(operators and modules with their shapes), and each convention in zoo/conventions turns the trace into its number.
Imports errors, plugins and the contract of conventions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, cast

from zoo import plugins
from zoo.conventions import Convention, Layout, ModuleCall, OperatorCall, Share, Trace
from zoo.errors import CannotCheck

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

# The dog.jpg of PyTorch Hub, in pixels, which timm's model pages resize but do not crop:
# https://github.com/pytorch/hub/raw/master/images/dog.jpg (2024-05-01).
PHOTOGRAPH_WIDTH, PHOTOGRAPH_HEIGHT = 1546, 1213

# The share of a count that operators without a formula may hide before the count is unknown: below it, a number
# rounded to three digits, as publishers do, cannot tell.
HIDDEN_SHARE = 0.001


@dataclass(frozen=True, slots=True)
class Count:
    """One number for one forward pass of one image.

    convention: a name of zoo/conventions; input_shape: (channels, height, width); value: in the convention's unit.
    by_operator, by_module: (name, amount), the largest first; modules are the top-level ones, "" is the root itself.
    unknown_operators: operators without a formula, too small to matter (else there is no Count).
    """

    convention: str
    value: int
    input_shape: Shape
    by_operator: tuple[tuple[str, int], ...]
    by_module: tuple[tuple[str, int], ...]
    unknown_operators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What a module holds.

    params: elements of all parameters, a shared one once; trainable: of those that require a gradient;
    buffers: elements of all buffers; state_bytes: parameters and persistent buffers; entries: of the state dict;
    dtype: of the parameters, several joined by "+"; by_child: (top-level module, its parameters), in order.
    """

    params: int
    trainable: int
    buffers: int
    state_bytes: int
    entries: int
    dtype: str
    by_child: tuple[tuple[str, int], ...]


def count(module: torch.nn.Module, input_shape: Sequence[int], convention: str = "macs") -> Count:
    """Count one forward pass of one image under a convention.

    module: on the meta device, in eval mode (see `meta_build`); input_shape: (channels, height, width).
    Raises UnknownName for a convention that does not exist; CannotCheck when the module does not run at this shape, or
    when operators without a formula may hide more than HIDDEN_SHARE of the number.
    """
    return tally(trace(module, (1, *input_shape)), convention)


def tally(trace: Trace, convention: str) -> Count:
    """The number of a recorded forward pass under a convention; raises as `count` does."""
    rule = cast(Convention, plugins.load("conventions", convention))
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
        by_module=by_module(shares, depth=1),
        unknown_operators=tuple(sorted(unknown)),
    )


def by_module(shares: Sequence[Share], *, depth: int) -> tuple[tuple[str, int], ...]:
    """The amounts per module, paths cut after `depth` names, the largest first."""
    return _totals((".".join(share.path.split(".")[:depth]), share.amount) for share in shares)


def unknown_operators(trace: Trace) -> dict[str, int]:
    """The operators without a formula, each with a bound on the multiply-adds that it may hide.

    The bound of a call is the largest product of the sizes of two of its tensors, arguments and results: every linear
    map from n numbers to m is at most n x m multiply-adds, every bilinear one of n and m numbers at most n x m products
    to be added. It is coarse on purpose: what stays below HIDDEN_SHARE by it cannot matter.
    """
    bounds: Counter[str] = Counter()
    for call in trace.operators:
        for operator, bound in call.unknown:
            bounds[operator] += bound
    return dict(bounds)


def measure_state(module: torch.nn.Module) -> State:
    """Measure parameters, buffers and the bytes of the state dict; needs no input and no memory on meta."""
    params = list(module.parameters())
    persistent = {name for name in module.state_dict()}
    stored = [value for name, value in (*module.named_parameters(), *module.named_buffers()) if name in persistent]
    return State(
        params=sum(p.numel() for p in params),
        trainable=sum(p.numel() for p in params if p.requires_grad),
        buffers=sum(b.numel() for b in module.buffers()),
        state_bytes=sum(value.numel() * value.element_size() for value in stored),
        entries=len(persistent),
        dtype="+".join(sorted({str(p.dtype).removeprefix("torch.") for p in params})),
        by_child=tuple((name, sum(p.numel() for p in child.parameters())) for name, child in module.named_children()),
    )


def photograph_input(size: int) -> Shape:
    """The input that timm's model pages count at: PyTorch Hub's dog.jpg, its short side resized to `size`, not cropped.

    Source: all 8 ResNeSt rows of https://huggingface.co/docs/timm/models/resnest (2024-05-01) come out at it.
    """
    return (3, size, int(size * PHOTOGRAPH_WIDTH / PHOTOGRAPH_HEIGHT))


@contextmanager
def meta_build() -> Iterator[None]:
    """Build modules on the meta device inside this context, without computing initial values.

    The random fills and torch.nn.init leave meta tensors as they are: their meta kernels are Python, and take most of
    the time of building. Real tensors go the ordinary way: torch 2.14's trunc_normal_ draws until all values are in range, so
    that skipping the draw for a real tensor would never end.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    fills = frozenset(
        {getattr(torch.nn.init, name) for name in dir(torch.nn.init) if name.endswith("_") and not name.startswith("_")}
        | {getattr(torch.Tensor, name) for name in _RANDOM_FILLS}
    )

    class LeaveMetaUntouched(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in fills:
                target = args[0] if args else kwargs["tensor"]
                if target.is_meta:
                    return target
            return func(*args, **(kwargs or {}))

    with torch.device("meta"), LeaveMetaUntouched():
        yield


_RANDOM_FILLS = ("normal_", "uniform_", "random_", "bernoulli_", "exponential_", "geometric_", "cauchy_", "log_normal_")


def trace(module: torch.nn.Module, input_shape: Sequence[int]) -> Trace:
    """Record one forward pass of a module on the meta device; input_shape: (batch, channels, height, width).

    Raises CannotCheck when the module does not run at this shape.
    """
    import torch

    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    recorder = _Recorder(module)
    image = torch.empty(tuple(input_shape), dtype=dtype, device="meta")
    # Under inference mode torch hands operators over undecomposed, and no autograd state is made.
    with torch.inference_mode(), torch.device("meta"), recorder.listen():
        try:
            module(image)
        except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError, IndexError) as error:
            shape = "x".join(map(str, input_shape))
            raise CannotCheck(
                f"{type(module).__name__} does not run on an input of {shape}: {_first_line(error)}",
                mend="give an input size that the architecture accepts",
            ) from error
    return Trace(module, tuple(input_shape), tuple(recorder.calls), tuple(recorder.modules))


# Operators that the convention of multiply-adds counts as nothing (as torch's counter does), besides those that torch
# tags as pointwise and those that only view: they move numbers, or take sums, means, maxima and norms of a neighbourhood.
_NO_MULTIPLY_ADDS = frozenset(
    f"aten.{name}"
    for name in """
    _native_batch_norm_legit _native_batch_norm_legit_no_training native_batch_norm native_layer_norm native_group_norm
    _fused_rms_norm linalg_vector_norm _weight_norm_interface
    _softmax _log_softmax _safe_softmax
    avg_pool1d avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
    max_pool2d_with_indices max_pool3d_with_indices
    mean sum var var_mean std_mean amax amin max min argmax argmin all any cumsum prod
    upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa
    cat stack repeat roll flip constant_pad_nd reflection_pad2d replication_pad2d im2col col2im
    index _unsafe_index index_select index_put gather scatter embedding sort topk nonzero _unsafe_view as_strided copy
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle masked_fill tril triu bernoulli
    arange linspace empty empty_strided zeros ones full eye new_zeros new_ones new_empty new_full scalar_tensor rand randn
    empty_like zeros_like ones_like full_like fill zero
    floor_divide hardswish _assert_async _local_scalar_dense
    """.split()
)


class _Recorder:
    """Listens to a forward pass; `calls` and `modules` are what it heard.

    An operator at shapes that were seen before is not run again: its result is made from the shapes of the first.
    """

    def __init__(self, root: torch.nn.Module) -> None:
        import torch
        from torch.utils.flop_counter import flop_registry

        self._torch = torch
        self._formulas = flop_registry
        self._names = {id(module): name for name, module in root.named_modules()}
        self._path = [""]
        self._kinds: dict[Any, str] = {}
        self._seen: dict[object, tuple[Any, int, tuple[tuple[str, int], ...], tuple[Layout, ...]]] = {}
        self._mode = _dispatch_mode(self.run)
        self.calls: list[OperatorCall] = []
        self.modules: list[ModuleCall] = []

    @contextmanager
    def listen(self) -> Iterator[None]:
        from torch.nn.modules import module as hooks

        enter = hooks.register_module_forward_pre_hook(self._enter)
        leave = hooks.register_module_forward_hook(self._leave)
        try:
            with self._mode:
                yield
        finally:
            enter.remove()
            leave.remove()

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        name = self._names.get(id(module))
        if name is not None:
            self._path.append(name)

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if id(module) not in self._names:
            return
        path = self._path.pop()
        taken, given = _first_shape(self._torch, args), _first_shape(self._torch, output)
        if taken is not None and given is not None:
            self.modules.append(ModuleCall(path, module, taken, given))

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run or recall one operator and note it."""
        kind = self._kinds.get(func) or self._classify(func)
        if kind == "silent":
            return func(*args, **kwargs)
        arguments = self._describe(args)
        key = (func, arguments, self._describe(tuple(kwargs.items())))
        seen = self._seen.get(key)
        if seen is None:
            result, macs, unknown = self._measure(func, kind, args, kwargs)
            outputs = tuple(item for item in _flat(self._describe(result)) if isinstance(item, Layout))
            self._seen[key] = (type(result), macs, unknown, outputs)
        else:
            made, macs, unknown, outputs = seen
            result = self._recall(made, outputs)
        self.calls.append(OperatorCall(self._path[-1], _name(func), arguments, outputs, macs, unknown))
        return result

    def _classify(self, func: Any) -> str:
        schema = func._schema
        aliases = schema.is_mutable or any(value.alias_info is not None for value in schema.returns)
        if func._overloadpacket in self._formulas:
            kind = "formula"
        elif self._torch.Tag.pointwise in func.tags or (aliases and not schema.is_mutable):
            kind = "silent"
        else:
            kind = "other"
        self._kinds[func] = kind
        return kind

    def _measure(
        self, func: Any, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, int, tuple[tuple[str, int], ...]]:
        if kind == "formula":
            result = func(*args, **kwargs)
            # The registry counts a multiply-add as two.
            return result, self._formulas[func._overloadpacket](*args, **kwargs, out_val=result) // 2, ()
        outer, self.calls = self.calls, []
        try:
            with self._mode:
                result = func.decompose(*args, **kwargs)
            inner = self.calls
        finally:
            self.calls = outer
        if result is not NotImplemented:
            unknown = tuple(item for call in inner for item in call.unknown)
            return result, sum(call.macs for call in inner), unknown
        result = func(*args, **kwargs)
        if _name(func).removesuffix("_") in _NO_MULTIPLY_ADDS:
            return result, 0, ()
        return result, 0, ((_name(func), self._bound(args, *kwargs.values(), result)),)

    def _bound(self, *values: Any) -> int:
        """The largest product of the sizes of two of the tensors; `unknown_operators` says why."""
        sizes = sorted(prod(item.shape) for item in _flat(self._describe(values)) if isinstance(item, Layout))
        return prod(sizes[-2:]) if sizes else 0

    def _describe(self, value: Any) -> Any:
        if isinstance(value, self._torch.Tensor):
            return Layout(tuple(value.shape), value.stride(), value.dtype)
        if isinstance(value, (list, tuple)):
            return tuple([self._describe(item) for item in value])
        return value

    def _recall(self, made: Any, outputs: tuple[Layout, ...]) -> Any:
        empty = self._torch.empty_strided
        tensors = [empty(layout.shape, layout.stride, dtype=layout.dtype, device="meta") for layout in outputs]
        return tensors[0] if issubclass(made, self._torch.Tensor) else made(tensors)


def _dispatch_mode(run: Any) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recording(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return run(func, args, kwargs or {})

    return Recording()


def _name(func: Any) -> str:
    return str(func._overloadpacket)


def _first_shape(torch: Any, value: Any) -> Shape | None:
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)) and value:
        return _first_shape(torch, value[0])
    return None


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple) and not isinstance(value, Layout):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


def _totals(amounts: Iterator[tuple[str, int]] | Any) -> tuple[tuple[str, int], ...]:
    totals: Counter[str] = Counter()
    for name, amount in amounts:
        totals[name] += amount
    return tuple(totals.most_common())


def _refuse_hidden(unknown: dict[str, int], value: int) -> None:
    if sum(unknown.values()) > HIDDEN_SHARE * value:
        names = ", ".join(sorted(unknown))
        raise CannotCheck(f"no formula for {names}, which may hide more than {HIDDEN_SHARE:.1%} of the multiply-adds")
