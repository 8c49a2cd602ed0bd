"""Build modules on the meta device: shapes without memory and without initial values."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def meta_build() -> Iterator[None]:
    """Build modules on the meta device in this context, without memory and without computing initial values.

    Functions that allocate (`torch.empty`, `zeros`, `ones`, random numbers) return meta tensors. torch.nn.init and the
    random fills leave meta tensors unchanged, because their meta kernels are Python and take most of the build time.
    Functions that compute values (`arange`, `linspace`, `tensor`) return real tensors, because constructors read them
    (torchvision's RegNets read their widths). A real tensor moves to meta when it is combined with a meta tensor or becomes
    a parameter or a buffer. This applies to the current thread only.
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
        # The hooks are global in torch. None leaves the value unchanged.
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
                # A real tensor must be filled: trunc_normal_ of torch 2.14 draws again until all values are in bounds.
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
