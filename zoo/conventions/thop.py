"""What thop 0.0.31 counts: by the exact class of a module, batch norm and average pooling included.

Source of the rules: thop 0.0.31.post2005241907 (PyPI), thop/vision/basic_hooks.py. A module whose exact class has no
rule counts nothing, and so does everything that is not a module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from zoo.conventions import ModuleCall, Share, Trace

EVERY_OPERATOR = False


def tally(trace: Trace) -> Iterator[Share]:
    """What each module counts."""
    classifier = _classifier(trace)
    for call in trace.modules:
        kind = type(call.module).__name__
        rule = _RULES.get(f"{type(call.module).__module__}.{kind}")
        if rule and call is not classifier:
            amount = rule(call)
            if amount:
                yield Share(call.path, kind, amount)


def _classifier(trace: Trace) -> ModuleCall | None:
    """The last linear layer of a timm model: in timm 0.4 it was a subclass of nn.Linear, which has no rule."""
    if not type(trace.root).__module__.startswith("timm."):
        return None
    return next((call for call in reversed(trace.modules) if type(call.module).__name__ == "Linear"), None)


def _convolution(call: ModuleCall) -> int:
    conv = call.module
    bias = 0 if conv.bias is None else 1
    return prod(call.output_shape) * (conv.in_channels // conv.groups * prod(conv.kernel_size) + bias)


def _batch_norm(call: ModuleCall) -> int:
    return 2 * prod(call.input_shape)


def _each_input(call: ModuleCall) -> int:
    return prod(call.input_shape)


def _each_output(call: ModuleCall) -> int:
    return prod(call.output_shape)


def _adaptive_average_pool(call: ModuleCall) -> int:
    window = [size // out for size, out in zip(call.input_shape[2:], call.output_shape[2:], strict=True)]
    return prod(call.output_shape) * (prod(window) + 1)


def _linear(call: ModuleCall) -> int:
    return call.module.in_features * prod(call.output_shape)


_RULES: dict[str, Callable[[ModuleCall], int]] = {
    "torch.nn.modules.conv.Conv1d": _convolution,
    "torch.nn.modules.conv.Conv2d": _convolution,
    "torch.nn.modules.conv.Conv3d": _convolution,
    "torch.nn.modules.conv.ConvTranspose1d": _convolution,
    "torch.nn.modules.conv.ConvTranspose2d": _convolution,
    "torch.nn.modules.conv.ConvTranspose3d": _convolution,
    "torch.nn.modules.batchnorm.BatchNorm1d": _batch_norm,
    "torch.nn.modules.batchnorm.BatchNorm2d": _batch_norm,
    "torch.nn.modules.batchnorm.BatchNorm3d": _batch_norm,
    "torch.nn.modules.batchnorm.SyncBatchNorm": _batch_norm,
    "timm.layers.norm_act.BatchNormAct2d": _batch_norm,
    "torch.nn.modules.activation.LeakyReLU": _each_input,
    "torch.nn.modules.pooling.AvgPool1d": _each_output,
    "torch.nn.modules.pooling.AvgPool2d": _each_output,
    "torch.nn.modules.pooling.AvgPool3d": _each_output,
    "torch.nn.modules.pooling.AdaptiveAvgPool1d": _adaptive_average_pool,
    "torch.nn.modules.pooling.AdaptiveAvgPool2d": _adaptive_average_pool,
    "torch.nn.modules.pooling.AdaptiveAvgPool3d": _adaptive_average_pool,
    "torch.nn.modules.linear.Linear": _linear,
}
