"""How `zoo publish` to the Hub compares with `hf upload` of the same folder, in one run on this machine.

    python tests/bench/publish.py [--runs 3] [--json FILE]

The Hub is the tests' own, on loopback, large files over LFS, its files in memory where there is room. The model has
as many bytes as resnest269e (445 MB), most of them in its last layer, so that evaluating it is quick; its weights are
fresh, its card claims the accuracy that they have on the digits, and `zoo verify` proves it. Each tool is started as
a process and timed from start to end, zoo with gate, measuring, read-back and all, in turn and each time into a new
repository. Then the same from a pickle, and the repetition with nothing changed. Printed are medians, peaks of
memory, requests, bytes sent, and the goals.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from tests.servers.hub_server import HubServer  # noqa: E402  # found through the line above

MIB = 1 << 20
MEMORY, MEMORY_BYTES = Path("/dev/shm"), 8 << 30
GOAL_RATIO = 1.1
GOAL_MIB = 200.0
GOAL_PICKLE_MIB = 1.2 * 1024

CLASSES = 195_270
"""ResNet-18 has 11,176,512 parameters before its last layer and 513 for each class: 445 MB in all."""

CARDS = {"large": ("large.safetensors", "safetensors"), "pickled": ("large.pth", "pickle")}
CARD = """\
name: {name}
builder: {{library: timm, entry: resnet18, options: {{num_classes: {classes}}}}}
task: image-classification
license: apache-2.0
input: {{size: [3, 32, 32], interpolation: bilinear, crop_pct: 1.0, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}}
weights:
  - {{file: {file}, format: {format}, size_bytes: {size_bytes}, sha256: "{sha256}"}}
claims:
  results:
    - {{dataset: digits, split: validation, metric: top1, value: {top1}, unit: percent}}
ignore:
  - {{rule: consistency, reason: "fresh weights know nothing, and both cards have the same"}}
"""


@dataclass(frozen=True)
class Run:
    """One process: seconds from start to end and of processor, its peak of memory, requests, bytes of weights sent."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    requests: int
    uploaded_bytes: int


def main() -> None:
    """Run all and print it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as pip leaves what it installs: compiled, like the peers
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        tempfile.tempdir = str(MEMORY)  # how fast the server's disk takes the weights is no matter of who sends them
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        prepare(options.prepare)
        return
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as scratch, hub_and_zoo(Path(scratch)) as bench:
        runs_by_kind = bench.measure(options.runs)
    if options.json:
        data = {name: [asdict(run) for run in runs] for name, runs in runs_by_kind.items()}
        options.json.write_text(json.dumps(data, indent=2) + "\n")


class Bench:
    """A Hub, two verified cards, and the folder that both tools publish."""

    def __init__(self, hub: HubServer, scratch: Path) -> None:
        self.hub, self.scratch = hub, scratch
        token = hub.add_user("ada")
        self.environment = {**hub.environment(scratch / "hf", token=token), "ZOO_HOME": str(scratch / "home")}
        self.cards = scratch / "cards"
        self.folder = scratch / "folder"

    def measure(self, runs: int) -> dict[str, list[Run]]:
        """All comparisons, printed as they are done."""
        self.run("zoo", "publish", "large", "--cards", self.cards, "--to", f"folder:{self.folder}")
        runs_by_kind: dict[str, list[Run]] = {"zoo": [], "hf": [], "again": [], "pickle": []}
        for number in range(runs):
            runs_by_kind["hf"].append(self.run("hf", "upload", f"ada/hf-{number}", self.folder, "."))
            runs_by_kind["zoo"].append(self.zoo("large", f"zoo-{number}"))
            runs_by_kind["again"].append(self.zoo("large", f"zoo-{number}"))
            runs_by_kind["pickle"].append(self.zoo("pickled", f"pickle-{number}"))
        size_mib = (self.folder / "model.safetensors").stat().st_size / MIB
        ratio = median(runs_by_kind["zoo"]) / median(runs_by_kind["hf"])
        print(
            f"load {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores; medians of {runs} runs; weights {size_mib:.0f} MiB"
        )
        show("zoo publish", runs_by_kind["zoo"], f"goal: at most {GOAL_MIB:g} MiB")
        show("hf upload", runs_by_kind["hf"])
        print(f"zoo / hf: {ratio:.2f} (goal: at most {GOAL_RATIO})")
        show("zoo publish, nothing changed", runs_by_kind["again"], "goal: 0 bytes")
        show("zoo publish of a pickle", runs_by_kind["pickle"], f"goal: at most {GOAL_PICKLE_MIB + size_mib:.0f} MiB")
        return runs_by_kind

    def zoo(self, name: str, repository: str) -> Run:
        """Publish a card into a repository."""
        return self.run("zoo", "publish", name, "--cards", self.cards, "--to", f"hf:ada/{repository}")

    def run(self, tool: str, *arguments: object) -> Run:
        """Run a tool to its end."""
        module = {"zoo": "zoo_cli", "hf": "huggingface_hub.cli.hf"}[tool]
        self.hub.log.clear()
        start = time.perf_counter()
        line = [sys.executable, "-m", module, *map(str, arguments)]
        process = subprocess.Popen(
            line, env=self.environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        stderr = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{tool} failed:\n{stderr}")
        return Run(
            seconds,
            usage.ru_utime + usage.ru_stime,
            peak_mib(usage),
            self.hub.log.count(),
            self.hub.log.uploaded_lfs_bytes,
        )


@contextmanager
def hub_and_zoo(scratch: Path) -> Iterator[Bench]:
    """A Hub and the two cards, verified.

    They are made by another process: the peak of a child's memory counts from the size of the process that starts it.
    """
    with HubServer() as hub:
        bench = Bench(hub, scratch)
        subprocess.run([sys.executable, __file__, "--prepare", bench.cards], check=True, env=bench.environment)
        for name in CARDS:
            bench.run("zoo", "verify", name, "--cards", bench.cards)
        yield bench


def prepare(folder: Path) -> None:
    """The weights, and the cards with what they are measured to be."""
    make_weights(folder)
    for name, (file, form) in CARDS.items():
        write_card(folder, name, file, form)


def make_weights(folder: Path) -> None:
    """The same fresh weights as safetensors and as a pickle."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    state = timm.create_model("resnet18", num_classes=CLASSES).state_dict()
    save_file(state, folder / "large.safetensors", metadata={"format": "pt"})
    torch.save(state, folder / "large.pth")


def write_card(folder: Path, name: str, file: str, form: str) -> None:
    """The card, with the accuracy that is measured as its claim."""
    from zoo import api
    from zoo.weights import store

    size_bytes, sha256 = store.digest(folder / file)
    values = {
        "name": name,
        "file": file,
        "format": form,
        "size_bytes": size_bytes,
        "sha256": sha256,
        "classes": CLASSES,
    }
    path = folder / f"{name}.yaml"
    path.write_text(CARD.format(**values, top1=0))
    report = api.verify(name, cards=folder)
    measured = next(item.measured for item in report.findings if item.check == "accuracy")
    path.write_text(CARD.format(**values, top1=measured))


def median(runs: list[Run]) -> float:
    """The median of their seconds."""
    return statistics.median(run.seconds for run in runs)


def show(title: str, runs: list[Run], goal: str = "") -> None:
    """One line about the runs of one kind."""
    peak, sent = max(run.peak_mib for run in runs), max(run.uploaded_bytes for run in runs)
    cpu = statistics.median(run.cpu_seconds for run in runs)
    text = f"{median(runs):.2f} s, {cpu:.2f} s of processor, peak {peak:.0f} MiB, {runs[-1].requests} requests, {sent:,} bytes of weights"
    print(f"{title}: {text}" + (f" ({goal})" if goal else ""))


def peak_mib(usage: resource.struct_rusage) -> float:
    """Linux counts ru_maxrss in KiB, macOS in bytes (getrusage(2) of both)."""
    return usage.ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
