"""Module + input shape -> parameters, multiply-adds, and the other numbers that people call FLOPs.

Everything runs on torch's meta device: no memory, no weights, no arithmetic. One forward pass is recorded as a `Trace`
(operators and modules with their shapes), and each convention in zoo/conventions turns a trace into its number.
Imports errors, plugins and the contract of conventions.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from zoo import plugins
from zoo.conventions import (
    ATTENTION,
    CONVOLUTIONS,
    PRODUCTS,
    Convention,
    Layout,
    ModuleCall,
    OperatorCall,
    Trace,
)
from zoo.errors import CannotCheck

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

# The dog.jpg of PyTorch Hub, in pixels, which the snippet on timm's model pages resizes and does not crop:
# https://github.com/pytorch/hub/raw/master/images/dog.jpg (as it was in 2021 to 2024).
PHOTOGRAPH_WIDTH, PHOTOGRAPH_HEIGHT = 1546, 1213

# The share of a number that operators without a formula may hide before it is unknown. Publishers round to three
# digits, where less than this cannot be seen.
HIDDEN_SHARE = 0.001

# The sizes that ImageNet models are run at by default; a number without its input was often made at one of them.
USUAL_SIZES = (224, 256)


@dataclass(frozen=True, slots=True)
class Count:
    """One number for one forward pass of one image.

    convention: a name of zoo/conventions; value: in the convention's unit; input_shape: (channels, height, width).
    by_operator, by_module: (name, amount), the largest first; the module "" is what the root computes itself.
    unknown_operators: those without a formula, together too small to matter (else there is no Count).
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

    params: elements of all parameters, a shared one once; trainable: of those that require a gradient; buffers:
    elements of all buffers. state_bytes: parameters and persistent buffers, as a file stores them; entries: of the
    state dict. dtype: of the parameters, several joined by "+". by_child: (top-level module, its parameters).
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
    """A convention and an input that give a number: how somebody may have come by it.

    variant: what is done differently from the convention, "" for nothing. value: what was counted.
    """

    convention: str
    variant: str
    batch: int
    input_shape: Shape
    value: int


@dataclass(frozen=True, slots=True)
class Solution:
    """What a bare number can be: `fits` in the order of likelihood, none when nothing tried gives it.

    macs: the multiply-adds at the model's own input; ratio: the number divided by them.
    """

    value: int
    fits: tuple[Fit, ...]
    macs: int
    ratio: float


def count(module: torch.nn.Module, input_shape: Sequence[int], convention: str = "macs", *, depth: int = 1) -> Count:
    """Count one forward pass of one image under a convention.

    module: on the meta device (see `meta_build`), in eval mode; input_shape: (channels, height, width); depth: how many
    names of a module's path tell the parts of `by_module` apart, 1 for the top-level modules.
    Raises UnknownName for a convention that does not exist; CannotCheck when the module does not run at this shape, or
    when operators without a formula may hide more than HIDDEN_SHARE of the number.
    """
    return tally(trace(module, (1, *input_shape)), convention, depth=depth)


def tally(trace: Trace, convention: str, *, depth: int = 1) -> Count:
    """The number of a recorded forward pass under a convention; raises as `count` does."""
    rule = _convention(convention)
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
    """The elements that convolutions, linear layers and products put out: what timm publishes as `infer_macts`.

    Source: fvcore 0.1.5, fvcore/nn/activation_count.py, with the two products of an attention that is not fused, and
    without convolutions whose padding is a word.
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
    """The operators without a formula, each with a bound on the multiply-adds that it may hide.

    The bound of a call is the largest product of the sizes of two of its tensors, arguments and results: a linear map
    from n numbers to m takes at most n x m multiply-adds, a bilinear one of n and m numbers has at most n x m products
    to add up. It is coarse on purpose: what is negligible by it is negligible.
    """
    bounds: Counter[str] = Counter()
    for call in trace.operators:
        for operator, bound in call.unknown:
            bounds[operator] += bound
    return dict(bounds)


def _refuse_hidden(unknown: Mapping[str, int], value: int) -> None:
    if sum(unknown.values()) > HIDDEN_SHARE * value:
        raise CannotCheck(
            f"no formula for {', '.join(sorted(unknown))}, which may hide more than {HIDDEN_SHARE:.1%} of the {value:,} "
            "that could be counted",
            mend="register one with torch.utils.flop_counter.register_flop_formula",
        )


def measure_state(module: torch.nn.Module) -> State:
    """Measure parameters, buffers and the bytes of the state dict; needs no input, and no memory on meta."""
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
    """The input that timm's model pages count at: PyTorch Hub's dog.jpg, its height resized to `size`, not cropped.

    Source: the FLOPs of all 8 models on https://huggingface.co/docs/timm/models/resnest (2021 to 2024) come out at it.
    """
    return (3, size, int(size * PHOTOGRAPH_WIDTH / PHOTOGRAPH_HEIGHT))


def solve(module: torch.nn.Module, value: int, image_size: int, *, rounded_to: int = 1) -> Solution:
    """Find the conventions and inputs that give a number whose convention nobody wrote down.

    module: as for `count`; image_size: of the model's own input, pixels; rounded_to: the step that the number is rounded
    to. Tries every convention and its variants at the model's size and the USUAL_SIZES, square and photograph, for one
    image and for two. An exact number stops at its first fit; a rounded one gets them all.
    Raises CannotCheck when the module does not run at its own size, or its multiply-adds cannot be counted there.
    """
    own = trace(module, (1, 3, image_size, image_size))
    macs = tally(own, "macs").value
    fits: list[Fit] = []
    for recorded in _traces(module, own, value):
        for fit in _candidates(recorded):
            if abs(fit.value - value) * 2 <= rounded_to and not _is_known(fit, fits):
                fits.append(fit)
        if fits and rounded_to == 1:
            break
    return Solution(value=value, fits=tuple(fits), macs=macs, ratio=value / macs if macs else 0.0)


def _traces(module: torch.nn.Module, own: Trace, value: int) -> Iterator[Trace]:
    """Traces at the inputs that people use, the likely first; of two images only where that comes near the number."""
    sizes = dict.fromkeys((own.input_shape[-1], *USUAL_SIZES))
    shapes = [shape for size in sizes for shape in ((3, size, size), photograph_input(size))]
    for shape in shapes:
        try:
            one = own if shape == own.input_shape[1:] else trace(module, (1, *shape))
            yield one
            # Not all is per image (a position's table is not), so two images are recorded, not doubled.
            if any(abs(2 * fit.value - value) < 0.01 * value for fit in _candidates(one)):
                yield trace(module, (2, *shape))
        except CannotCheck:
            continue


def _candidates(trace: Trace) -> Iterator[Fit]:
    """What each convention gives for a trace, then what each variant does."""
    batch, *shape = trace.input_shape
    rules = {name: _convention(name) for name in _by_likelihood(plugins.names("conventions"))}
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


def _convention(name: str) -> Convention:
    return cast(Convention, plugins.load("conventions", name))


def _totals(amounts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    totals: Counter[str] = Counter()
    for name, amount in amounts:
        totals[name] += amount
    return tuple(totals.most_common())


@contextmanager
def meta_build() -> Iterator[None]:
    """Build modules on the meta device in this context, without memory and without computing initial values.

    What allocates (`torch.empty`, `zeros`, `ones`, random numbers) gives meta tensors, and torch.nn.init and the random
    fills leave those as they are: their meta kernels are Python, and take most of the time of building. What computes values
    (`arange`, `linspace`, `tensor`) stays real, since constructors read them (torchvision's RegNets their widths); it
    moves to meta when it meets a meta tensor or becomes a parameter or a buffer. Applies to this thread only.
    """
    from torch.nn.modules import module as registration

    hooks = (
        registration.register_module_parameter_registration_hook(_moved_to_meta(threading.get_ident())),
        registration.register_module_buffer_registration_hook(_moved_to_meta(threading.get_ident())),
    )
    try:
        with _allocate_on_meta():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _moved_to_meta(thread: int) -> Any:
    from torch.nn import Parameter

    def move(module: torch.nn.Module, name: str, value: torch.Tensor | None) -> torch.Tensor | None:
        # The hooks are torch's global ones; None leaves the value as it is.
        if value is None or value.is_meta or threading.get_ident() != thread:
            return None
        moved = value.detach().to("meta")
        return Parameter(moved, value.requires_grad) if isinstance(value, Parameter) else moved

    return move


def _allocate_on_meta() -> Any:
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_any, tree_map_only

    init, tensor = torch.nn.init, torch.Tensor
    fills = {getattr(init, name) for name in dir(init) if name.endswith("_") and not name.startswith("_")}
    fills |= {tensor.normal_, tensor.uniform_, tensor.random_, tensor.bernoulli_, tensor.exponential_}
    allocators = {torch.empty, torch.empty_strided, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}

    class AllocateOnMeta(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in fills:
                filled = args[0] if args else kwargs["tensor"]
                # A real tensor is filled: trunc_normal_ of torch 2.14 draws again until all of it is within its bounds.
                return filled if filled.is_meta else func(*args, **kwargs)
            if func in allocators and kwargs.get("device") is None:
                kwargs = {**kwargs, "device": "meta"}
            try:
                return func(*args, **kwargs)
            except RuntimeError:
                if not tree_any(lambda value: isinstance(value, tensor) and value.is_meta, (args, kwargs)):
                    raise
                args, kwargs = tree_map_only(tensor, lambda value: value.detach().to("meta"), (args, kwargs))
                return func(*args, **kwargs)

    return AllocateOnMeta()


def trace(module: torch.nn.Module, input_shape: Sequence[int]) -> Trace:
    """Record one forward pass of a module on the meta device; input_shape: (batch, channels, height, width).

    Raises CannotCheck when the module does not run at this shape.
    """
    import torch

    recorder = _Recorder(module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    images = torch.empty(tuple(input_shape), dtype=dtype, device="meta")
    # Under inference mode torch hands operators over undecomposed, and makes no state for gradients.
    with torch.inference_mode(), torch.device("meta"), recorder.listening():
        try:
            module(images)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            reason = (str(error) or type(error).__name__).partition("\n")[0]
            raise CannotCheck(
                f"{type(module).__name__} does not run on an input of {'x'.join(map(str, input_shape))}: {reason}",
                mend="give an input size that the architecture accepts",
            ) from error
    return Trace(module, tuple(input_shape), tuple(recorder.calls), tuple(recorder.modules))


# Operators that multiply-adds leave out, as torch's counter does, besides those that torch tags as pointwise and those
# that return a view. What they do takes work in the number of their elements (a window's for pooling, a few neighbours'
# for resizing), never a product of two sizes. An in-place one is meant with its plain name.
_NO_MULTIPLY_ADDS = frozenset(
    (
        # norms and softmax
        *("instance_norm", "group_norm", "layer_norm", "_native_batch_norm_legit", "native_batch_norm"),
        *("_native_batch_norm_legit_no_training", "native_layer_norm", "native_group_norm", "_fused_rms_norm"),
        *("linalg_vector_norm", "softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax", "dropout"),
        # pooling, sums, extrema, order
        *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"),
        *("_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d", "max_pool2d"),
        *("max_pool2d_with_indices", "max_pool3d_with_indices", "mean", "sum", "var", "var_mean", "prod", "logsumexp"),
        *("amax", "amin", "max", "min", "aminmax", "all", "any", "argmax", "argmin", "cumsum", "cumprod"),
        *("count_nonzero", "median", "kthvalue", "sort", "argsort", "topk", "searchsorted", "bucketize"),
        # resizing and sampling
        *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d"),
        *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
        *("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa", "grid_sampler_2d", "grid_sampler_3d"),
        # moving
        *("cat", "stack", "repeat", "repeat_interleave", "roll", "flip", "copy", "_to_copy", "clone", "_unsafe_view"),
        *(
            "as_strided",
            "constant_pad_nd",
            "reflection_pad1d",
            "reflection_pad2d",
            "replication_pad2d",
            "im2col",
            "col2im",
        ),
        *(
            "pixel_shuffle",
            "pixel_unshuffle",
            "channel_shuffle",
            "native_channel_shuffle",
            "tril",
            "triu",
            "diag_embed",
        ),
        *("index", "_unsafe_index", "index_select", "index_put", "index_add", "index_fill", "gather", "embedding"),
        *(
            "scatter",
            "scatter_add",
            "scatter_reduce",
            "masked_scatter",
            "masked_select",
            "nonzero",
            "unique_dim",
            "take",
        ),
        # making and reading numbers
        *("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "zeros", "zeros_like", "new_zeros"),
        *("ones", "ones_like", "new_ones", "full", "full_like", "new_full", "scalar_tensor", "zero", "fill", "eye"),
        *("arange", "linspace", "tril_indices", "triu_indices", "rand", "rand_like", "randn", "randn_like", "randint"),
        *("randperm", "bernoulli", "normal", "uniform", "multinomial", "_local_scalar_dense", "_assert_async", "equal"),
        # element by element, though torch does not tag them so
        *("floor_divide", "hardswish"),
    )
)

# The same, with a result laid out as its first argument, which need not be computed: the meta kernel of batch norm is slow.
_LIKE_THEIR_ARGUMENT = frozenset({"aten.batch_norm"})


class _Seen(NamedTuple):
    """What is known of an operator at given arguments: how its result is made, and what it costs.

    made: the type of the result, None where the result is the first argument (written into, or passed on).
    """

    made: Any
    outputs: tuple[Layout, ...]
    macs: int
    unknown: tuple[tuple[str, int], ...]


class _Recorder:
    """Listens to a forward pass; `calls` and `modules` are what it heard.

    An operator at arguments that were seen before is not run again: its result is made from the layouts of the first.
    Many of torch's meta kernels are Python, and networks repeat their layers: this is most of what counting saves.
    """

    def __init__(self, root: torch.nn.Module) -> None:
        import torch
        from torch.utils.flop_counter import flop_registry

        self.calls: list[OperatorCall] = []
        self.modules: list[ModuleCall] = []
        self._torch = torch
        self._formulas = flop_registry
        self._names = {id(module): name for name, module in root.named_modules()}
        self._path = [""]
        self._kinds: dict[Any, str] = {}
        self._seen: dict[object, _Seen] = {}
        self._mode = _dispatching_to(self.run)

    @contextmanager
    def listening(self) -> Iterator[None]:
        from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

        hooks = register_module_forward_pre_hook(self._enter), register_module_forward_hook(self._leave)
        try:
            with self._mode:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: torch.nn.Module, args: Any) -> None:
        name = self._names.get(id(module))
        if name is not None:
            self._path.append(name)

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if id(module) in self._names:
            path = self._path.pop()
            taken, given = self._first_shape(args), self._first_shape(output)
            if taken is not None and given is not None:
                self.modules.append(ModuleCall(path, module, taken, given))

    def _first_shape(self, value: Any) -> Shape | None:
        if isinstance(value, self._torch.Tensor):
            return tuple(value.shape)
        if isinstance(value, dict):
            value = tuple(value.values())
        return self._first_shape(value[0]) if isinstance(value, (list, tuple)) and value else None

    def run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Give the result of one operator, run or recalled, and note the call."""
        kind = self._kinds.get(func) or self._classify(func)
        if kind == "view":
            return func(*args, **kwargs)
        arguments = self._describe(args)
        key = (func, arguments, self._describe(tuple(kwargs.items())))
        seen = self._seen.get(key)
        if seen is not None:
            result = self._recall(seen, args)
        else:
            result, macs, unknown = self._measure(func, kind, args, kwargs)
            made = None if args and result is args[0] else type(result)
            seen = _Seen(made, tuple(_layouts(self._describe(result))), macs, unknown)
            if self._can_recall(result, seen) and (made is None or not func._schema.is_mutable):
                self._seen[key] = seen
        if kind != "pointwise":
            name = str(func._overloadpacket)
            self.calls.append(OperatorCall(self._path[-1], name, arguments, seen.outputs, seen.macs, seen.unknown))
        return result

    def _classify(self, func: Any) -> str:
        """Sort an operator: `view` and `pointwise` are not recorded, `free` and `like` cost nothing, `open` is looked into."""
        schema, tag = func._schema, self._torch.Tag
        returns_view = not schema.is_mutable and any(value.alias_info is not None for value in schema.returns)
        if func._overloadpacket in self._formulas:
            kind = "formula"
        elif returns_view or tag.inplace_view in func.tags:
            kind = "view"
        elif tag.pointwise in func.tags:
            kind = "pointwise"
        else:
            name = str(func._overloadpacket)
            free = name.removeprefix("aten.").removesuffix("_") in _NO_MULTIPLY_ADDS
            kind = "like" if name in _LIKE_THEIR_ARGUMENT else "free" if free else "open"
        self._kinds[func] = kind
        return kind

    def _measure(
        self, func: Any, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, int, tuple[tuple[str, int], ...]]:
        """Run an operator; its result, multiply-adds, and what may hide more."""
        if kind == "like":
            return self._torch.empty_like(args[0]), 0, ()
        if kind == "open":
            outer, self.calls = self.calls, []
            try:
                with self._mode:
                    result = func.decompose(*args, **kwargs)
                inner = self.calls
            finally:
                self.calls = outer
            if result is not NotImplemented:
                return result, sum(call.macs for call in inner), tuple(item for call in inner for item in call.unknown)
        result = func(*args, **kwargs)
        if kind == "formula":
            # The registry counts a multiply-add as two.
            return result, self._formulas[func._overloadpacket](*args, **kwargs, out_val=result) // 2, ()
        if kind in ("free", "pointwise"):
            return result, 0, ()
        sizes = sorted(prod(layout.shape) for layout in _layouts(self._describe((args, *kwargs.values(), result))))
        return result, 0, ((str(func._overloadpacket), prod(sizes[-2:])),) if sizes else ()

    def _describe(self, value: Any) -> Any:
        if isinstance(value, self._torch.Tensor):
            return Layout(tuple(value.shape), value.stride(), value.dtype, value.is_meta)
        if isinstance(value, (list, tuple)):
            return tuple([self._describe(item) for item in value])
        return value

    def _can_recall(self, result: Any, seen: _Seen) -> bool:
        """Only tensors without values: what was read from one must be read again."""
        tensors = [result] if isinstance(result, self._torch.Tensor) else result
        return (
            isinstance(tensors, (list, tuple))
            and len(tensors) == len(seen.outputs) > 0
            and all(layout.on_meta for layout in seen.outputs)
        )

    def _recall(self, seen: _Seen, args: tuple[Any, ...]) -> Any:
        if seen.made is None:
            return args[0]
        make = self._torch.empty_strided
        tensors = [make(layout.shape, layout.stride, dtype=layout.dtype, device="meta") for layout in seen.outputs]
        return tensors[0] if issubclass(seen.made, self._torch.Tensor) else seen.made(tensors)


def _layouts(description: Any) -> Iterator[Layout]:
    if isinstance(description, Layout):
        yield description
    elif isinstance(description, tuple):
        for item in description:
            yield from _layouts(item)


def _dispatching_to(run: Any) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Dispatching(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives its modes no types
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return run(func, args, kwargs or {})

    return Dispatching()  # type: ignore[no-untyped-call]  # the same
