"""Trace one forward pass of a module: its operators and submodules, with their shapes.

Everything runs on torch's meta device, without memory, weights or arithmetic (see zoo.models.meta).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.errors import CannotCheck
from zoo.flops.conventions import Layout, ModuleCall, OperatorCall, Trace

if TYPE_CHECKING:
    import torch


Shape = tuple[int, ...]


def trace(module: torch.nn.Module, input_shape: Sequence[int]) -> Trace:
    """Record one forward pass of a module on the meta device; input_shape: (batch, channels, height, width).

    Raises CannotCheck when the module does not run at this shape.
    """
    import torch

    recorder = _Recorder(module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    images = torch.empty(tuple(input_shape), dtype=dtype, device="meta")
    # In inference mode torch passes operators on undecomposed, and allocates nothing for gradients.
    with torch.inference_mode(), torch.device("meta"), recorder.recording():
        try:
            module(images)
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            reason = (str(error) or type(error).__name__).partition("\n")[0]
            raise CannotCheck(
                f"{type(module).__name__} does not run on an input of {'x'.join(map(str, input_shape))}: {reason}",
                hint="give an input size that the architecture accepts",
            ) from error
    return Trace(module, tuple(input_shape), tuple(recorder.calls), tuple(recorder.modules))


# Operators that do not count as multiply-adds, as in torch's counter, in addition to those that torch tags as pointwise and
# those that return a view. Their work is proportional to their elements (times a window for pooling, a few neighbours for
# resizing), never to a product of two sizes. A name stands for its in-place version too.
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
        # creating and reading values
        *("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "zeros", "zeros_like", "new_zeros"),
        *("ones", "ones_like", "new_ones", "full", "full_like", "new_full", "scalar_tensor", "zero", "fill", "eye"),
        *("arange", "linspace", "tril_indices", "triu_indices", "rand", "rand_like", "randn", "randn_like", "randint"),
        *("randperm", "bernoulli", "normal", "uniform", "multinomial", "_local_scalar_dense", "_assert_async", "equal"),
        # pointwise, but not tagged so by torch
        *("floor_divide", "hardswish"),
    )
)


# Also not counted; the result has the layout of the first argument and is not computed, because batch norm's meta kernel is
# slow.
_LIKE_THEIR_ARGUMENT = frozenset({"aten.batch_norm"})


class _CallRecord(NamedTuple):
    """How to recreate the result of an operator at given arguments, and its cost.

    result_type: the type of the result, None when the result is the first argument (written to, or passed on).
    """

    result_type: Any
    outputs: tuple[Layout, ...]
    macs: int
    unknown: tuple[tuple[str, int], ...]


class _Recorder:
    """Records the operators of a forward pass in `calls`, and its submodules in `modules`.

    An operator is not run again for arguments that it had before: its result is created from the recorded layouts. This
    makes counting much faster, because many of torch's meta kernels are Python and networks repeat their layers.
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
        self._records: dict[object, _CallRecord] = {}
        self._mode = _dispatch_mode(self.run)

    @contextmanager
    def recording(self) -> Iterator[None]:
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
            input_shape, output_shape = self._first_shape(args), self._first_shape(output)
            if input_shape is not None and output_shape is not None:
                self.modules.append(ModuleCall(path, module, input_shape, output_shape))

    def _first_shape(self, value: Any) -> Shape | None:
        if isinstance(value, self._torch.Tensor):
            return tuple(value.shape)
        if isinstance(value, dict):
            value = tuple(value.values())
        return self._first_shape(value[0]) if isinstance(value, (list, tuple)) and value else None

    def run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the result of one operator, run or recreated, and record the call."""
        kind = self._kinds.get(func) or self._classify(func)
        if kind == "view":
            return func(*args, **kwargs)
        arguments = self._describe(args)
        key = (func, arguments, self._describe(tuple(kwargs.items())))
        record = self._records.get(key)
        if record is not None:
            result = self._recall(record, args)
        else:
            result, macs, unknown = self._measure(func, kind, args, kwargs)
            result_type = None if args and result is args[0] else type(result)
            record = _CallRecord(result_type, tuple(_layouts(self._describe(result))), macs, unknown)
            if self._can_recall(result, record) and (result_type is None or not func._schema.is_mutable):
                self._records[key] = record
        if kind != "pointwise":
            name = str(func._overloadpacket)
            self.calls.append(
                OperatorCall(self._path[-1], name, arguments, record.outputs, record.macs, record.unknown)
            )
        return result

    def _classify(self, func: Any) -> str:
        """Classify an operator: `view` and `pointwise` are not recorded, `free` and `like` cost nothing, `open` is decomposed."""
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
        """Run an operator; return its result, its multiply-adds, and (operator, bound) for what may hide more."""
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
            # torch's formulas count a multiply-add as two.
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

    def _can_recall(self, result: Any, record: _CallRecord) -> bool:
        """Return whether the result has only meta tensors: a tensor with values must be computed each time."""
        tensors = [result] if isinstance(result, self._torch.Tensor) else result
        return (
            isinstance(tensors, (list, tuple))
            and len(tensors) == len(record.outputs) > 0
            and all(layout.on_meta for layout in record.outputs)
        )

    def _recall(self, record: _CallRecord, args: tuple[Any, ...]) -> Any:
        if record.result_type is None:
            return args[0]
        make = self._torch.empty_strided
        tensors = [make(layout.shape, layout.stride, dtype=layout.dtype, device="meta") for layout in record.outputs]
        return tensors[0] if issubclass(record.result_type, self._torch.Tensor) else record.result_type(tensors)


def _layouts(description: Any) -> Iterator[Layout]:
    if isinstance(description, Layout):
        yield description
    elif isinstance(description, tuple):
        for item in description:
            yield from _layouts(item)


def _dispatch_mode(run: Any) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's modes have no types
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return run(func, args, kwargs or {})

    return DispatchMode()  # type: ignore[no-untyped-call]  # the same
