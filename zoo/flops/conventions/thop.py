"""The count of thop 0.0.31: layers by their exact class, including batch norm and average pooling.

Source of the rules: thop 0.0.31.post2005241907 (PyPI), thop/vision/basic_hooks.py and profile.py. A layer whose exact
class has no rule counts as zero, and so does everything computed outside of layers. The number therefore depends on the
classes that a library used: the FLOPs on timm's model pages were counted with timm 0.4, and the tables below list the models
that are built of other classes in today's timm. They come from the source of timm 0.4.5 (PyPI) and timm 1.0.31, and were
verified by running thop 0.0.31 with timm 0.4.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, cast

from zoo.flops.conventions import ModuleCall, Share, Trace, classifier

if TYPE_CHECKING:
    from torch import nn


EVERY_OPERATOR = False


def tally(trace: Trace) -> Iterator[Share]:
    """Yield the count of each layer."""
    return _tally(trace)


def _tally(trace: Trace, *, count_classifier: bool = False, count_bias: bool = True) -> Iterator[Share]:
    file = type(trace.root).__module__
    left_out = classifier(trace) if file in _OWN_LINEAR_CLASSIFIER and not count_classifier else None
    for call in trace.modules:
        rule = _rule(file, call.kind)
        if rule is None or (call is left_out and rule is _linear):
            continue
        amount = rule(call)
        if rule is _convolution and not count_bias:
            amount -= _bias(call)
        if amount:
            yield Share(call.path, type(call.module).__name__, amount)


def _rule(file: str, kind: str) -> Callable[[ModuleCall], int] | None:
    if kind == _BATCH_NORM_ACT and file in _PLAIN_BATCH_NORM:
        return _batch_norm
    if kind == _LEAKY_RELU and file in _ACTIVATION_IN_NORM:
        return None
    return _RULES.get(kind)


def _convolution(call: ModuleCall) -> int:
    layer = cast("nn.Conv2d", call.module)
    each = layer.in_channels // layer.groups * prod(layer.kernel_size)
    return prod(call.output_shape) * each + _bias(call)


def _bias(call: ModuleCall) -> int:
    return prod(call.output_shape) if call.module.bias is not None else 0


def _batch_norm(call: ModuleCall) -> int:
    return 2 * prod(call.input_shape)


def _input(call: ModuleCall) -> int:
    return prod(call.input_shape)


def _output(call: ModuleCall) -> int:
    return prod(call.output_shape)


def _adaptive_average_pool(call: ModuleCall) -> int:
    """Count a window's additions and one division; thop rounds the window down when it does not divide the input."""
    window = [size // out for size, out in zip(call.input_shape[2:], call.output_shape[2:], strict=True)]
    return prod(call.output_shape) * (prod(window) + 1)


def _linear(call: ModuleCall) -> int:
    return cast("nn.Linear", call.module).in_features * prod(call.output_shape)


def _upsample(call: ModuleCall) -> int:
    return prod(call.output_shape) * _UPSAMPLE.get(str(call.module.mode), 0)


# Operations for each output element, by thop's count of additions and multiplications; other modes count as zero.
_UPSAMPLE = {"linear": 5, "bilinear": 11, "bicubic": 259}
_LEAKY_RELU = "torch.nn.modules.activation.LeakyReLU"
_RULES: dict[str, Callable[[ModuleCall], int]] = {
    **{f"torch.nn.modules.conv.Conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"torch.nn.modules.conv.ConvTranspose{n}d": _convolution for n in (1, 2, 3)},
    **{f"torch.nn.modules.batchnorm.BatchNorm{n}d": _batch_norm for n in (1, 2, 3)},
    "torch.nn.modules.batchnorm.SyncBatchNorm": _batch_norm,
    _LEAKY_RELU: _input,
    **{f"torch.nn.modules.pooling.AvgPool{n}d": _output for n in (1, 2, 3)},
    **{f"torch.nn.modules.pooling.AdaptiveAvgPool{n}d": _adaptive_average_pool for n in (1, 2, 3)},
    "torch.nn.modules.linear.Linear": _linear,
    "torch.nn.modules.upsampling.Upsample": _upsample,
    "torch.nn.modules.upsampling.UpsamplingBilinear2d": _upsample,
}
_BATCH_NORM_ACT = "timm.layers.norm_act.BatchNormAct2d"


def _files(names: str) -> frozenset[str]:
    return frozenset(f"timm.models.{name}" for name in names.split())


# Files whose models had nn.BatchNorm2d in timm 0.4, which thop counts, and have timm's BatchNormAct2d now. In all other
# files it was a BatchNormAct2d in timm 0.4 too (cspnet, densenet, dpn, nasnet, pnasnet, regnet, rexnet, vovnet,
# xception_aligned, the selective kernels of resnet): a class of timm's own, which thop did not count.
_PLAIN_BATCH_NORM = _files("efficientnet inception_resnet_v2 inception_v3 inception_v4 mobilenetv3")


# Files whose norm and activation were one InplaceAbn, which thop did not count; now the activation is a separate module.
_ACTIVATION_IN_NORM = _files("tresnet")


# Files whose classifier was timm 0.4's own subclass of nn.Linear (timm/models/layers/linear.py), which thop did not count.
# vision_transformer had nn.Linear, and so have the models that were added to timm later.
_OWN_LINEAR_CLASSIFIER = _files(
    "byobnet cspnet densenet efficientnet hrnet inception_resnet_v2 inception_v3 inception_v4 mobilenetv3 nasnet nfnet"
    " pnasnet regnet resnet rexnet selecsls senet tresnet vgg vovnet xception xception_aligned"
)


def _variant(*, count_classifier: bool, count_bias: bool) -> Callable[[Trace], int]:
    return lambda trace: sum(
        share.amount for share in _tally(trace, count_classifier=count_classifier, count_bias=count_bias)
    )


VARIANTS = {
    "with the classifier": _variant(count_classifier=True, count_bias=True),
    "without biases": _variant(count_classifier=False, count_bias=False),
    "with the classifier and without biases": _variant(count_classifier=True, count_bias=False),
}
