"""Evaluation beside timm's own parts, and beside a bare forward loop on tensors in memory: counts, seconds, ratios.

    python tests/bench/evaluate.py [--images 400] [--models mobilenetv3_large_100 resnet50] [--runs 3]

Makes JPEG pictures of 500 x 375 pixels in ten class folders and weights whose outputs tell them apart by chance, so that
neither top-1 nor top-5 is trivial. Then the same images and weights are evaluated by zoo (decoding, hashing and keeping the
parts included), by a loop of timm's `create_dataset`, `create_loader` (batch 64, two workers) and `accuracy` as its
validate.py has it, and, the pictures decoded beforehand, by bare forward loops of several batch sizes, memory formats and
kinds of threads, of which the fastest counts. Each has a process of its own, so that none gains by how another set up
memory; they take turns. Imports, building, loading and a first batch are in none of the times. Wall seconds are the median
of the runs; CPU seconds, of all threads and workers, say more on a machine that does other things as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

CLASSES = 10
SEED = 7
GOALS = {"mobilenetv3_large_100": 0.9, "resnet50": 0.95}
"""The least share of the best bare loop's throughput; 1.5 times timm's is asked of the mobile net."""

Work = Callable[[], Any]
Row = Callable[[Any, Any], Work]
"""(subject, data set) -> what is timed; what it needs is ready by then."""


@dataclass(frozen=True)
class Timed:
    """What a run gave, its wall seconds, and the CPU seconds of this process and its children."""

    value: Any
    wall: float
    cpu: float


def main() -> None:
    """Print the table for each model; with --row, run that row once and print what it gave and took as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--models", nargs="+", default=list(GOALS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(asdict(timed(ROWS[options.row](*opened(options.folder))))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            compare(name, Path(folder) / name, options.images, options.runs)


def compare(name: str, folder: Path, images: int, runs: int) -> None:
    """Print counts and ratios of one model."""
    os.environ["ZOO_HOME"] = str(folder / "home")
    make(name, folder, images)
    rows: dict[str, list[Timed]] = {row: [] for row in ROWS}
    for _ in range(runs):
        for row, results in rows.items():
            results.append(in_a_process(row, folder))
    ours, timms, *loops = rows.values()
    best, usual = min(loops, key=wall), min((rows[row] for row in USUAL), key=wall)
    print(f"{name}, {images} pictures, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for row, results in rows.items():
        print(f"  {row:<58} {wall(results):7.2f} s wall {cpu(results):7.2f} s CPU  {results[0].value or ''}")
    same = len({str(result.value) for result in (*ours, *timms)}) == 1
    goal = GOALS.get(name)
    print(f"  counts of (top1, top5) {'are identical' if same else 'DIFFER'}")
    print(f"  throughput: {wall(timms) / wall(ours):.2f} x timm's parts (CPU {cpu(timms) / cpu(ours):.2f} x); "
          f"{wall(best) / wall(ours):.2f} of the best bare loop "
          f"(CPU {min(map(cpu, loops)) / cpu(ours):.2f}){f', goal {goal}' if goal else ''}, "
          f"{wall(usual) / wall(ours):.2f} of the best with torch's own threads")  # fmt: skip


def in_a_process(row: str, folder: Path) -> Timed:
    """One run of a row. Raises CalledProcessError when it fails."""
    command = [sys.executable, __file__, "--row", row, "--folder", str(folder)]
    return Timed(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


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


def make(name: str, folder: Path, images: int) -> None:
    """Pictures in class folders, weights, and the cards that describe them."""
    import torch
    from safetensors.torch import save_file
    from timm import create_model

    from zoo.models.build import make_transform
    from zoo.registry.catalog import load_catalog

    torch.manual_seed(SEED)
    (folder / "zoo" / "datasets").mkdir(parents=True)
    made = pictures(images)
    model: Any = create_model(name, num_classes=CLASSES).eval()
    write_cards(folder, name, images, model.default_cfg["input_size"][1:])  # timm's own for the architecture
    card_input = load_catalog((folder / "zoo",)).find("m").input
    assert card_input is not None
    prepare = make_transform(card_input)
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


def opened(folder: Path) -> tuple[Any, Any]:
    """(subject, data set) of what was made; the model is loaded and has seen one batch."""
    import torch

    from zoo.models.subject import Settings, Subject
    from zoo.registry.catalog import Member, load_catalog

    catalog = load_catalog((folder / "zoo",))
    subject = Subject(Member(catalog.find("m"), catalog), Settings(device="cpu", data={"pictures": folder / "copy"}))
    model = subject.model
    with torch.inference_mode():
        model(torch.zeros(16, *subject.input_size))
    return subject, catalog.dataset("pictures")


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


def by_zoo(subject: Any, dataset: Any) -> Work:
    """(top1, top5) as zoo counts them, nothing known from before."""
    from dataclasses import replace

    from zoo.accuracy.datasets import open_copy
    from zoo.accuracy.evaluate import measure

    other = anew(subject, replace(subject.settings, refresh=True))

    def work() -> tuple[int, int]:
        open_copy(dataset, "validation", subject.settings.data).forget_digests()
        counts = measure(other, dataset, "validation").counts
        return counts.top1, counts.top5

    return work


def anew(subject: Any, settings: Any) -> Any:
    """The subject with other settings and the model that is loaded already."""
    from zoo.models.subject import Subject

    other = Subject(subject.member, settings, subject._artifacts)
    other.__dict__["model"] = subject.model
    return other


def by_timm(subject: Any, _dataset: Any) -> Work:
    """(top1, top5) by timm's parts, put together as its validate.py does on a CPU."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.utils import AverageMeter, accuracy

    spec, model = subject.input, subject.model.to(memory_format=torch.contiguous_format)

    def work() -> tuple[int, int]:
        dataset = create_dataset(name="", root=str(subject.settings.data["pictures"]), split="validation")
        loader = create_loader(
            dataset, input_size=spec.size, batch_size=64, use_prefetcher=False, interpolation=spec.interpolation,
            mean=spec.mean, std=spec.std, num_workers=2, crop_pct=spec.crop_pct, pin_memory=False,
            device=torch.device("cpu"),
        )  # fmt: skip
        top1, top5 = AverageMeter(), AverageMeter()
        with torch.inference_mode():
            for images, labels in loader:
                output = model(images)
                first, five = accuracy(output, labels, topk=(1, 5))
                top1.update(first.item(), images.size(0))
                top5.update(five.item(), images.size(0))
        return round(top1.sum / 100), round(top5.sum / 100)

    return work


def decoded(subject: Any) -> Any:
    """Tensors (n, 3, height, width) of all pictures."""
    import torch
    from PIL import Image

    from zoo.models.build import make_transform

    prepare, paths = make_transform(subject.input), sorted(subject.settings.data["pictures"].rglob("*.jpg"))
    return torch.stack([prepare(Image.open(path).convert("RGB")) for path in paths])


def loop(batch: int, layout: str) -> Row:
    """One batch after the other, torch's own threads inside each operator; counts nothing."""

    def row(subject: Any, _dataset: Any) -> Work:
        import torch

        kind = getattr(torch, layout)
        pixels, model = decoded(subject), subject.model.to(memory_format=kind)

        def work() -> None:
            with torch.inference_mode():
                for images in pixels.split(batch):
                    model(images.contiguous(memory_format=kind))

        return work

    return row


def threads(batch: int) -> Row:
    """A thread for each batch, computing alone, channels last; counts nothing."""

    def row(subject: Any, _dataset: Any) -> Work:
        import torch

        pixels, model = decoded(subject), subject.model.to(memory_format=torch.channels_last)

        def one(images: Any) -> None:
            with torch.inference_mode():
                model(images.contiguous(memory_format=torch.channels_last))

        def work() -> None:
            count = torch.get_num_threads()
            with ThreadPoolExecutor(count, initializer=lambda: torch.set_num_threads(1)) as pool:
                list(pool.map(one, pixels.split(batch)))

        return work

    return row


USUAL: dict[str, Row] = {
    "bare loop, rows (NCHW), batch 64": loop(64, "contiguous_format"),
    "bare loop, rows (NCHW), batch 16": loop(16, "contiguous_format"),
    "bare loop, channels last, batch 64": loop(64, "channels_last"),
    "bare loop, channels last, batch 16": loop(16, "channels_last"),
}
ROWS: dict[str, Row] = {
    "zoo": by_zoo,
    "timm's parts": by_timm,
    **USUAL,
    "bare loop, channels last, batch 2, a thread for each batch": threads(2),
    "bare loop, channels last, batch 4, a thread for each batch": threads(4),
    "bare loop, channels last, batch 8, a thread for each batch": threads(8),
    "bare loop, channels last, batch 16, a thread for each batch": threads(16),
}

if __name__ == "__main__":
    main()
