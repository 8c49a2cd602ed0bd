"""Measure how much logits change with the order of computation, which a fingerprint must tolerate.

    python tests/bench/fingerprint.py

It prints a line for each architecture: the differences from float32 with a batch of one and two threads, as parts of the
largest logit (or of 1, where all are smaller). The difference of bfloat16 is one that a fingerprint must not tolerate.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
NAMES = (
    *("resnet18", "resnest14d", "resnest50d", "densenet121", "mobilenetv3_small_100", "efficientnet_b0"),
    *("tf_efficientnet_lite0", "regnety_002", "convnext_atto", "vit_tiny_patch16_224"),
    *("swin_tiny_patch4_window7_224", "mixer_b16_224", "levit_128s"),
)


def model_of(name: str) -> Any:
    """The architecture with random weights, its statistics, scales and shifts as far from 0 and 1 as trained ones are."""
    import timm
    import torch

    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    with torch.no_grad():
        for key, value in (*model.named_parameters(), *model.named_buffers()):
            if key.endswith("running_mean"):
                value.normal_(0, 0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point() and value.dim() == 1:
                value.add_(torch.randn_like(value) * 0.05)
            elif key.startswith(("head", "fc", "classifier")) and value.dim() > 1:
                value.normal_(0, 0.05)
    return model


def answers(model: Any, image: Any) -> dict[str, Any]:
    """The logits (outputs,) under each order of computation."""
    import torch

    logits = {"float32": model(image)[0]}
    torch.set_num_threads(1)
    logits["one thread"] = model(image)[0]
    torch.set_num_threads(2)
    logits["batch of 16"] = model(image.repeat(16, 1, 1, 1))[5]
    with torch.backends.mkldnn.flags(enabled=False):
        logits["no oneDNN"] = model(image)[0]
    with torch.autocast("cpu", torch.bfloat16):
        logits["bfloat16"] = model(image)[0].float()
    logits["channels_last"] = model.to(memory_format=torch.channels_last)(image)[0]
    logits["double"] = model.double()(image.double())[0].float()
    return logits


def main() -> None:
    """Measure all and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(ROOT))
    import torch

    from zoo.models import fingerprint
    from zoo.models.build import make_transform
    from zoo.models.builders import timm
    from zoo.registry.card import Input

    torch.set_num_threads(2)
    worst, least_half = 0.0, 1.0
    for name in NAMES:
        module = model_of(name)
        fields = {key: tuple(v) if isinstance(v, list) else v for key, v in timm.default_input(module).items()}
        image = make_transform(Input(None, **fields))(fingerprint.picture()).unsqueeze(0)  # type: ignore[arg-type]  # no card
        with torch.inference_mode():
            logits = {key: value[: fingerprint.LOGITS] for key, value in answers(module, image).items()}
        first = logits.pop("float32")
        scale = max(1.0, float(first.abs().max()))
        off = {key: float((value - first).abs().max()) / scale for key, value in logits.items()}
        least_half = min(least_half, off["bfloat16"])
        worst = max(worst, *(value for key, value in off.items() if key != "bfloat16"))
        print(f"{name:30} " + "  ".join(f"{key} {value:.1e}" for key, value in off.items()))
    print(f"float32: {worst:.1e} at most; bfloat16: {least_half:.1e} at least; tolerance {fingerprint.TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
