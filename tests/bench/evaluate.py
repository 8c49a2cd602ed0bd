"""Evaluation beside timm's own parts, and beside a bare forward loop on tensors in memory: counts, seconds, ratios.

    python tests/bench/evaluate.py [--images 400] [--models mobilenetv3_large_100 resnet50] [--runs 3]

Makes JPEG pictures of 500 x 375 pixels in ten class folders and weights whose outputs tell them apart by chance, so that
neither top-1 nor top-5 is trivial. Then the same images and weights are evaluated by zoo (decoding, hashing and keeping the
parts included), by a loop of timm's `create_dataset`, `create_loader` (batch 64, two workers) and `accuracy` as its
validate.py has it, and, the pictures decoded beforehand, by bare forward loops of several batch sizes, memory formats and
kinds of threads, of which the fastest counts. Imports, building and loading are in none of the times. Wall seconds are the
median of the runs; CPU seconds, of all threads and workers, say more on a machine that does other things as well.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

CLASSES = 10
SEED = 7
GOALS = {"mobilenetv3_large_100": 0.9, "resnet50": 0.95}
"""The least share of the best bare loop's throughput; 1.5 times timm's is asked of the mobile net."""


@dataclass(frozen=True)
class Timed:
    """What a run gave, its wall seconds, and the CPU seconds of this process and its children."""

    value: Any
    wall: float
    cpu: float


def main() -> None:
    """Print the table for each model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--models", nargs="+", default=list(GOALS))
    parser.add_argument("--runs", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in wanted.models:
            os.environ["ZOO_HOME"] = str(Path(folder) / name / "home")
            compare(name, Path(folder) / name, wanted.images, wanted.runs)


def compare(name: str, folder: Path, images: int, runs: int) -> None:
    """Print counts and ratios of one model."""
    subject, dataset = prepared(name, folder, images)
    model = subject.model  # loaded here, outside of every time
    ours = [timed(lambda: by_zoo(subject, dataset)) for _ in range(runs)]
    timms = [timed(lambda: by_timm(model, subject, folder / "copy")) for _ in range(runs)]
    pixels, _labels = decoded(subject, folder / "copy")
    loops = {loop: [timed(lambda loop=loop: loop(model, pixels)) for _ in range(runs)] for loop in LOOPS}  # type: ignore[misc]
    best = min(loops, key=lambda loop: wall(loops[loop]))
    print(f"{name}, {images} pictures, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rows = {"zoo": ours, "timm's parts": timms, **{str(loop.__doc__): results for loop, results in loops.items()}}
    for label, results in rows.items():
        counts = results[0].value if isinstance(results[0].value, tuple) else ""
        print(f"  {label:<58} {wall(results):7.2f} s wall {cpu(results):7.2f} s CPU  {counts}")
    same = len({result.value for result in (*ours, *timms)}) == 1
    goal = GOALS.get(name)
    print(f"  counts of (top1, top5) {'are identical' if same else 'DIFFER'}")
    print(f"  throughput: {wall(timms) / wall(ours):.2f} x timm's parts (CPU {cpu(timms) / cpu(ours):.2f} x); "
          f"{wall(loops[best]) / wall(ours):.2f} of the best bare loop "
          f"(CPU {min(map(cpu, loops.values())) / cpu(ours):.2f}){f', goal {goal}' if goal else ''}")  # fmt: skip


def wall(results: list[Timed]) -> float:
    """The median of the wall seconds."""
    return statistics.median(result.wall for result in results)


def cpu(results: list[Timed]) -> float:
    """The median of the CPU seconds."""
    return statistics.median(result.cpu for result in results)


def timed(work: Callable[[], Any]) -> Timed:
    """The work's value and what it took."""
    begun, used = time.perf_counter(), _cpu_seconds()
    value = work()
    return Timed(value, time.perf_counter() - begun, _cpu_seconds() - used)


def _cpu_seconds() -> float:
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def prepared(name: str, folder: Path, images: int) -> tuple[Any, Any]:
    """(subject, data set): pictures in class folders, weights, and the cards that describe them."""
    import torch
    from safetensors.torch import save_file
    from timm import create_model

    from zoo import catalog
    from zoo.model import Settings, Subject, transform

    torch.manual_seed(SEED)
    (folder / "zoo" / "datasets").mkdir(parents=True)
    made = pictures(images)
    model = create_model(name, num_classes=CLASSES).eval()
    size = model.default_cfg["input_size"][1:]  # timm's own for the architecture
    write_cards(folder, name, images, size)
    subject = Subject(catalog.load((folder / "zoo",)).find("m"), catalog.load((folder / "zoo",)),
                      Settings(device="cpu", data={"pictures": folder / "copy"}))  # fmt: skip
    prepare = transform(subject.input)
    with torch.inference_mode():
        logits = torch.cat([model(torch.stack([prepare(picture)])) for picture in made])
    spread = apart(model, logits)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "zoo" / "m.safetensors")
    for place, picture in enumerate(made):
        guess = int(spread[place].argmax())
        label = guess if torch.rand(()) < 0.6 else int(torch.randint(CLASSES, ()))
        path = folder / "copy" / f"c{label}" / f"{place:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=90)
    for label in range(CLASSES):
        (folder / "copy" / f"c{label}").mkdir(exist_ok=True)
        if not any((folder / "copy" / f"c{label}").iterdir()):
            raise SystemExit(f"class {label} has no picture: give more --images")
    found = catalog.load((folder / "zoo",))
    return Subject(found.find("m"), found, subject.settings), found.dataset("pictures")


def apart(model: Any, logits: Any) -> Any:
    """Change the classifier so that its outputs have mean 0 and equal spread on these pictures; the new outputs."""
    head = model.get_classifier()
    scale, shift = 1 / logits.std(0).clamp_min(1e-6), logits.mean(0)
    head.weight.data *= scale[:, None]
    head.bias.data = (head.bias.data - shift) * scale
    return (logits - shift) * scale


def pictures(count: int) -> list[Any]:
    """Pictures with structure at every scale, as photographs have, of 500 x 375 pixels: JPEGs of about 70 kB."""
    import numpy as np
    from PIL import Image

    numbers, made = np.random.default_rng(SEED), []
    for _ in range(count):
        picture = np.zeros((375, 500, 3), dtype=np.float32)
        for cells, strength in ((3, 90), (8, 60), (25, 40), (90, 25), (250, 12)):
            noise = numbers.integers(0, 256, (cells * 3 // 4 + 1, cells, 3), dtype=np.uint8)
            layer = Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC)
            picture += (np.asarray(layer, dtype=np.float32) / 255 - 0.5) * 2 * strength
        made.append(Image.fromarray(np.clip(picture + 128, 0, 255).astype(np.uint8)))
    return made


def write_cards(folder: Path, name: str, images: int, size: tuple[int, int]) -> None:
    """A card of the model and one of the data set."""
    classes = ", ".join(f"c{label}" for label in range(CLASSES))
    (folder / "zoo" / "datasets" / "pictures.yaml").write_text(
        f"name: pictures\nkind: folder\nsplits: {{validation: {{images: {images}}}}}\nclasses: [{classes}]\n"
    )
    (folder / "zoo" / "m.yaml").write_text(
        f"name: m\nbuilder: {{library: timm, entry: {name}, options: {{num_classes: {CLASSES}}}}}\n"
        f"input: {{size: [3, {size[0]}, {size[1]}], interpolation: bicubic, crop_pct: 0.875, "
        "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}\n"
        "weights: [{file: m.safetensors}]\n"
    )


def by_zoo(subject: Any, dataset: Any) -> tuple[int, int]:
    """(top1, top5) as zoo counts them, nothing known from before."""
    from dataclasses import replace

    from zoo.datasets import open_copy
    from zoo.evaluate import measure

    open_copy(dataset, "validation", subject.settings.data).forget()
    counts = measure(anew(subject, replace(subject.settings, refresh=True)), dataset, "validation").counts
    return counts.top1, counts.top5


def anew(subject: Any, settings: Any) -> Any:
    """The subject with other settings and the model that is loaded already."""
    from zoo.model import Subject

    other = Subject(subject.card, subject.catalog, settings, subject._artifacts)
    other.__dict__["model"] = subject.model
    return other


def by_timm(model: Any, subject: Any, copy: Path) -> tuple[int, int]:
    """(top1, top5) by timm's parts, put together as its validate.py does on a CPU."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.utils import AverageMeter, accuracy

    said = subject.input
    dataset = create_dataset(name="", root=str(copy), split="validation")
    loader = create_loader(
        dataset, input_size=said.size, batch_size=64, use_prefetcher=False, interpolation=said.interpolation,
        mean=said.mean, std=said.std, num_workers=2, crop_pct=said.crop_pct, pin_memory=False, device=torch.device("cpu"),
    )  # fmt: skip
    model = model.to(memory_format=torch.contiguous_format)
    top1, top5 = AverageMeter(), AverageMeter()
    with torch.inference_mode():
        for images, labels in loader:
            output = model(images)
            first, five = accuracy(output, labels, topk=(1, 5))
            top1.update(first.item(), images.size(0))
            top5.update(five.item(), images.size(0))
    return round(top1.sum / 100), round(top5.sum / 100)


def decoded(subject: Any, copy: Path) -> tuple[Any, list[int]]:
    """(tensors (n, 3, height, width), labels) of all pictures."""
    import torch
    from PIL import Image

    from zoo.model import transform

    prepare, paths = transform(subject.input), sorted(copy.rglob("*.jpg"))
    pixels = torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    return pixels, [int(path.parent.name[1:]) for path in paths]


def loop(model: Any, pixels: Any, batch: int, layout: str) -> None:
    """One batch after the other, torch's own threads inside each operator."""
    import torch

    kind = getattr(torch, layout)
    model = model.to(memory_format=kind)
    with torch.inference_mode():
        for images in pixels.split(batch):
            model(images.contiguous(memory_format=kind))


def rows_64(model: Any, pixels: Any) -> None:
    """bare loop, rows (NCHW), batch 64"""  # the row's name in the table
    loop(model, pixels, 64, "contiguous_format")


def channels_64(model: Any, pixels: Any) -> None:
    """bare loop, channels last, batch 64"""  # the row's name in the table
    loop(model, pixels, 64, "channels_last")


def channels_16(model: Any, pixels: Any) -> None:
    """bare loop, channels last, batch 16"""  # the row's name in the table
    loop(model, pixels, 16, "channels_last")


def apart_16(model: Any, pixels: Any) -> None:
    """bare loop, channels last, batch 16, a thread for each batch"""  # the row's name in the table
    import torch

    model = model.to(memory_format=torch.channels_last)

    def one(images: Any) -> None:
        with torch.inference_mode():
            model(images.contiguous(memory_format=torch.channels_last))

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
        list(pool.map(one, pixels.split(16)))


LOOPS: tuple[Callable[[Any, Any], None], ...] = (rows_64, channels_64, channels_16, apart_16)

if __name__ == "__main__":
    main()
