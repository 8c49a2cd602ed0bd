"""Compare how long zoo and its peers take to count the operations of a model: medians, ratios, and whether the counts agree.

    python tests/bench/counting.py [ROUNDS]

The models are built before; the last line of each is the time of building, by the constructor on the meta device and by
`meta_build`. Peers that are not installed are left out: pip install --no-deps fvcore iopath yacs portalocker tabulate termcolor thop
ptflops. fvcore needs a model with memory; the others count on the meta device.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MODELS = (("resnest14d", 224), ("resnest50d", 224), ("vit_base_patch16_224", 224), ("resnest269e", 416))
Counter = Callable[[object, int], int]


def ours(model: object, size: int) -> int:
    """`zoo.flops.counting.count`."""
    from zoo.flops.counting import count

    return count(model, (3, size, size)).value  # type: ignore[arg-type]


def torchs(model: object, size: int) -> int:
    """Half the count of torch's own counter."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, size, size, device="meta"))  # type: ignore[operator]
    return counter.get_total_flops() // 2


def fvcores(model: object, size: int) -> int:
    """`FlopCountAnalysis` without its warnings."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, torch.zeros(1, 3, size, size))
    analysis = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return int(analysis.total())


def thops(model: object, size: int) -> int:
    """`thop.profile`."""
    import thop
    import torch

    return int(thop.profile(model, (torch.empty(1, 3, size, size, device="meta"),), verbose=False)[0])


def ptflopss(model: object, size: int) -> int:
    """`get_model_complexity_info` by its aten backend."""
    import torch
    from ptflops import get_model_complexity_info

    macs, _ = get_model_complexity_info(
        model,
        (3, size, size),
        backend="aten",
        as_strings=False,
        print_per_layer_stat=False,
        input_constructor=lambda shape: torch.empty(1, *shape, device="meta"),
    )
    return int(macs)


PEERS: dict[str, tuple[str, Counter]] = {
    "zoo": ("zoo", ours),
    "FlopCounterMode": ("torch", torchs),
    "ptflops": ("ptflops", ptflopss),
    "thop": ("thop", thops),
    "fvcore": ("fvcore", fvcores),
}


def median(run: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of some rounds, after one that is not timed."""
    run()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Count all models and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=7, help="how often each count is timed (default: 7)")
    rounds = parser.parse_args().rounds
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(ROOT))
    import timm
    import torch

    from zoo.flops.counting import photograph_input, solve, tally
    from zoo.flops.tracing import trace
    from zoo.models.meta import meta_build

    peers = {name: count for name, (package, count) in PEERS.items() if importlib.util.find_spec(package)}

    def plain(name: str) -> object:
        with torch.device("meta"):
            return timm.create_model(name)

    def quick(name: str) -> object:
        with meta_build():
            return timm.create_model(name).eval()

    for name, size in MODELS:
        print(name)
        truth, first = 0, 0.0
        for peer, count in peers.items():
            model = timm.create_model(name) if peer == "fvcore" else quick(name)
            model.eval().requires_grad_(False)  # type: ignore[attr-defined]
            value = count(model, size)
            seconds = median(lambda count=count, model=model, size=size: count(model, size), rounds)  # type: ignore[misc]
            truth, first = (truth or value), (first or seconds)
            print(f"  {peer:16} {seconds:7.3f} s   zoo / it {first / seconds:5.2f}   {value - truth:+,} multiply-adds")
        built = median(lambda name=name: plain(name), rounds), median(lambda name=name: quick(name), rounds)  # type: ignore[misc]
        print(f"  building: plain {built[0]:.3f} s, meta_build {built[1]:.3f} s, ratio {built[1] / built[0]:.2f}")
    for name, size in MODELS:
        if name.startswith("resnest"):
            number = tally(trace(quick(name), (1, *photograph_input(size))), "thop").value  # type: ignore[arg-type]
            seconds = median(lambda: solve(quick(name), number, size), 3)  # type: ignore[arg-type]  # noqa: B023
            print(f"{name}: solved with its building in {seconds:.2f} s [< 2]")


if __name__ == "__main__":
    main()
