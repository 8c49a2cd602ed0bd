"""The count of thop 0.1, its current release: layers by their exact class, including norms and average pooling.

Source of the rules: thop 0.1.1.post2209072238 (PyPI), thop/vision/basic_hooks.py, calc_func.py and profile.py.
Differences from thop 0.0.31: biases and LeakyReLU do not count, a norm with weights counts twice as much, layer norm,
instance norm and softmax have rules, and the window of adaptive pooling is not rounded. Numbers of thop 0.1 were counted
with today's classes, so that no class is mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, cast

from zoo.flops.conventions import ModuleCall, Share, Trace

if TYPE_CHECKING:
    from torch import nn


EVERY_OPERATOR = False
VARIANTS: Mapping[str, Callable[[Trace], int]] = {}


def tally(trace: Trace) -> Iterator[Share]:
    """Yield the count of each layer."""
    for call in trace.modules:
        rule = _RULES.get(call.kind)
        amount = rule(call) if rule else 0
        if amount:
            yield Share(call.path, type(call.module).__name__, amount)


def _convolution(call: ModuleCall) -> int:
    layer = cast("nn.Conv2d", call.module)
    return prod(call.output_shape) * (layer.in_channels // layer.groups) * prod(layer.kernel_size)


def _norm(call: ModuleCall) -> int:
    affine = getattr(call.module, "affine", False) or getattr(call.module, "elementwise_affine", False)
    return prod(call.input_shape) * (4 if affine else 2)


def _prelu(call: ModuleCall) -> int:
    return prod(call.input_shape)


def _softmax(call: ModuleCall) -> int:
    """Count an exponential and a division for each of n numbers, and n - 1 additions."""
    numbers = call.input_shape[cast("nn.Softmax", call.module).dim or 0]
    return prod(call.input_shape) // numbers * (3 * numbers - 1)


def _average_pool(call: ModuleCall) -> int:
    return prod(call.output_shape)


def _adaptive_average_pool(call: ModuleCall) -> int:
    window = prod(Fraction(size, out) for size, out in zip(call.input_shape[2:], call.output_shape[2:], strict=True))
    return int((window + 1) * prod(call.output_shape))


def _linear(call: ModuleCall) -> int:
    return cast("nn.Linear", call.module).in_features * prod(call.output_shape)


def _upsample(call: ModuleCall) -> int:
    return prod(call.output_shape) * _UPSAMPLE.get(str(call.module.mode), 0)


# Operations for each output element, by thop's count of additions and multiplications; thop rejects trilinear.
_UPSAMPLE = {"nearest": 1, "linear": 5, "bilinear": 11, "bicubic": 259}
_RULES: dict[str, Callable[[ModuleCall], int]] = {
    **{f"torch.nn.modules.conv.Conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"torch.nn.modules.conv.ConvTranspose{n}d": _convolution for n in (1, 2, 3)},
    **{f"torch.nn.modules.batchnorm.BatchNorm{n}d": _norm for n in (1, 2, 3)},
    "torch.nn.modules.batchnorm.SyncBatchNorm": _norm,
    **{f"torch.nn.modules.instancenorm.InstanceNorm{n}d": _norm for n in (1, 2, 3)},
    "torch.nn.modules.normalization.LayerNorm": _norm,
    "torch.nn.modules.activation.PReLU": _prelu,
    "torch.nn.modules.activation.Softmax": _softmax,
    **{f"torch.nn.modules.pooling.AvgPool{n}d": _average_pool for n in (1, 2, 3)},
    **{f"torch.nn.modules.pooling.AdaptiveAvgPool{n}d": _adaptive_average_pool for n in (1, 2, 3)},
    "torch.nn.modules.linear.Linear": _linear,
    "torch.nn.modules.upsampling.Upsample": _upsample,
    "torch.nn.modules.upsampling.UpsamplingBilinear2d": _upsample,
    "torch.nn.modules.upsampling.UpsamplingNearest2d": _upsample,
}
