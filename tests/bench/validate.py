"""Validate generated cards with planted faults: time, cards a second, memory, precision and recall, against check-jsonschema.

    python tests/bench/validate.py [--sizes 1000,3000,10000] [--peer PATH/TO/check-jsonschema] [--keep DIR]

The cards are seeded: families of one architecture at several widths, so that a planted fault stands out as it would in a
real zoo and as nothing else. check-jsonschema comes from PyPI, in an environment of its own; without it its columns stay empty.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

SEED = 20261124
FAULTS_A_THOUSAND = 60
CARD = """\
schema: 1
name: {name}
collection: {family}
license: apache-2.0
task: image-classification
builder: {{library: timm, entry: {name}, options: {{}}}}
input:
  size: [3, {side}, {side}]  # channels, height, width
  interpolation: bicubic
  crop_pct: {crop}
  mean: [0.485, 0.456, 0.406]
  std: [0.229, 0.224, 0.225]
weights:
  - file: {name}-{digest8}.pth
    format: pickle
    size_bytes: {size}
    sha256: "{digest}"
    urls:
      - https://models.example.org/{family}/{name}-{digest8}.pth
claims:
  params: {{value: {params}, rounded_to: 10000, origin: upstream}}
  flops:
    - {{value: {macs}, convention: macs, origin: computed}}
  results:
    - {{dataset: imagenet-1k, split: validation, metric: top1, value: {top1:.2f}, unit: percent, origin: upstream}}
    - {{dataset: imagenet-1k, split: validation, metric: top5, value: {top5:.2f}, unit: percent, origin: upstream}}
training:
  epochs: 300
  batch_size: 1024
  learning_rate: 0.1
  momentum: 0.9
  weight_decay: 0.0001
"""


@dataclass(frozen=True)
class Fault:
    """A planted fault: what it does to a card's text, and the rules of which one must find it."""

    name: str
    rules: frozenset[str]
    plant: Callable[[str, str], str]


def _swap(pattern: str, replacement: str | Callable[[re.Match[str]], str]) -> Callable[[str, str], str]:
    return lambda text, other: re.sub(pattern, replacement, text, count=1)


def _scaled(field: str, factor: float) -> Callable[[str, str], str]:
    return _swap(
        rf"({field}: {{value: |{field}:\n    - {{value: )(\d+)", lambda m: f"{m[1]}{round(int(m[2]) * factor)}"
    )


def _flops_and_params_swapped(text: str, other: str) -> str:
    params = re.search(r"params: {value: (\d+)", text)
    macs = re.search(r"- {value: (\d+), convention", text)
    assert params and macs
    swapped = text.replace(f"params: {{value: {params[1]}", f"params: {{value: {macs[1]}")
    return swapped.replace(f"- {{value: {macs[1]}, convention", f"- {{value: {params[1]}, convention")


def _file_of_another(text: str, other: str) -> str:
    block = re.compile(r"  - file: .*?(?=^claims)", re.DOTALL | re.MULTILINE)
    theirs = block.search(other)
    assert theirs
    return block.sub(lambda _: theirs[0], text, count=1)


FAULTS = (
    Fault(
        "file of another model",
        frozenset({"shared-url", "shared-digest", "shared-size", "size-params"}),
        _file_of_another,
    ),
    Fault("parameters x 10", frozenset({"size-params"}), _scaled("params", 10)),
    Fault("parameters in millions", frozenset({"params-plausible"}), _scaled("params", 1e-6)),
    Fault("operations / 1000", frozenset({"flops-params"}), _scaled("flops", 1e-3)),
    Fault("operations in G", frozenset({"flops-params"}), _scaled("flops", 1e-9)),
    Fault("operations x 10", frozenset({"flops-family"}), _scaled("flops", 10)),
    Fault("swapped", frozenset({"flops-params"}), _flops_and_params_swapped),
    Fault(
        "top-1 above top-5",
        frozenset({"top1-top5"}),
        _swap(r"metric: top5, value: [\d.]+", "metric: top5, value: 41.00"),
    ),
    Fault(
        "top-1 impossible", frozenset({"top1-top5"}), _swap(r"metric: top1, value: [\d.]+", "metric: top1, value: 1.01")
    ),
    Fault(
        "accuracy above 100", frozenset({"ranges"}), _swap(r"metric: top5, value: [\d.]+", "metric: top5, value: 968.9")
    ),
    Fault(
        "fraction as per cent",
        frozenset({"fraction-percent"}),
        _swap(r"metric: top1, value: ([\d.]+)", lambda m: f"metric: top1, value: {float(m[1]) / 100:.4f}"),
    ),
    Fault("wrong digest", frozenset({"hash-in-name"}), _swap(r'sha256: "[0-9a-f]{8}', 'sha256: "01234567')),
    Fault("local path", frozenset({"url-form"}), _swap(r"https://models.example.org/", "/home/me/")),
    Fault("full-width colon", frozenset({"url-form"}), _swap(r"https://", "https：//")),
    Fault("dead host", frozenset({"dead-host"}), _swap(r"models\.example\.org", "paperswithcode.com")),
    Fault("misspelt host", frozenset({"near-host"}), _swap(r"models\.example\.org", "model.example.org")),
    Fault(
        "moving revision",
        frozenset({"moving-revision"}),
        _swap(r"https://models.example.org/", "https://huggingface.co/org/resolve/main/"),
    ),
    Fault("misspelt key", frozenset({"schema"}), _swap(r"interpolation:", "interpolaton:")),
    Fault("crop above 1", frozenset({"crop"}), _swap(r"crop_pct: [\d.]+", "crop_pct: 1.14")),
    Fault("mean to 255", frozenset({"mean-std"}), _swap(r"mean: \[.*", "mean: [123.675, 116.28, 103.53]")),
    Fault("nobody's collection", frozenset({"unknown-collection"}), _swap(r"collection: (\w+)", r"collection: \1x")),
    Fault("no convention", frozenset({"no-convention"}), _swap(r", convention: macs", "")),
)


def generate(folder: Path, count: int, seed: int = SEED) -> dict[str, Fault]:
    """Write `count` cards in families of ten and return the planted faults by card."""
    chance = random.Random(seed)
    texts: dict[str, str] = {}
    families: dict[str, str] = {}
    for index in range(count):
        member = index % 10
        family = f"fam{index // 10:05d}"
        width = 1 + member * 0.35
        base = 4.0e6 + (index // 10) * 1_310.7
        params = round(base * width * width + index * 137, -4)
        side = (224, 224, 224, 256, 256, 288, 288, 320, 320, 384)[member]
        digest = hashlib.sha256(f"{seed}/{index}".encode()).hexdigest()
        name = f"{family}_w{member}"
        families[name] = family
        top1 = 72 + member + chance.random()
        texts[name] = CARD.format(
            name=name, family=family, side=side, crop=(0.875, 0.95)[member % 2], digest8=digest[:8], digest=digest,
            size=int(params) * 4 + 21_000 + index, params=int(params), top1=top1, top5=top1 + (100 - top1) * 0.75,
            macs=int(params * side * side * 0.0032 * (0.9 + 0.2 * chance.random())),
        )  # fmt: skip
    planted = _plant(texts, chance)
    for name, text in texts.items():
        home = folder / families[name]
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{name}.yaml").write_text(text, encoding="utf-8")
        (home / "collection.yaml").write_text(f"schema: 1\nname: {families[name]}\n", encoding="utf-8")
    return planted


def _plant(texts: dict[str, str], chance: random.Random) -> dict[str, Fault]:
    """At most one fault a family, so that each is judged against sound relatives."""
    names = list(texts)
    families = [names[start : start + 10] for start in range(0, len(names), 10)]
    chosen = chance.sample(
        [family for family in families if len(family) == 10], min(len(families), len(names) * FAULTS_A_THOUSAND // 1000)
    )
    planted: dict[str, Fault] = {}
    for number, family in enumerate(chosen):
        fault = FAULTS[number % len(FAULTS)]
        name, other = family[9], family[3]
        texts[name] = fault.plant(texts[name], texts[other])
        planted[name] = fault
    return planted


@dataclass(frozen=True)
class Run:
    """One run of a command: wall time and the processor's in seconds, memory in MiB, what it printed."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def run(*command: str, env: dict[str, str] | None = None) -> Run:
    """The command, in a process of its own, measured with its children."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        _, _, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        scale = 1024 if sys.platform != "darwin" else 2**20
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / scale, output.read())


def zoo(*arguments: str, home: Path) -> Run:
    """zoo's own command line in this interpreter."""
    return run(sys.executable, str(ROOT / "zoo_cli.py"), *arguments, env={"ZOO_HOME": str(home)})


def rules_by_card(report: str) -> dict[str, set[str]]:
    """By card, the rules that found something, `schema` for the format."""
    rules: dict[str, set[str]] = defaultdict(set)
    for finding in json.loads(report)["findings"]:
        if finding["status"] in ("wrong", "suspect"):
            rule = finding["key"].partition("#")[0] if finding["check"] == "consistency" else finding["check"]
            rules[finding["model"]].add(rule)
    return rules


def scores(planted: dict[str, Fault], rules: dict[str, set[str]]) -> tuple[float, float, list[str]]:
    """(precision, recall, faults that were missed): a card is right to be named when a fault was planted in it or its
    file was given to another."""
    named = set(rules)
    owners = {name[:-1] + "3" for name, fault in planted.items() if fault.name == "file of another model"}
    right = {name for name, fault in planted.items() if rules.get(name, set()) & fault.rules}
    missed = [f"{name}: {planted[name].name}" for name in planted if name not in right]
    return len(named & (set(planted) | owners)) / max(1, len(named)), len(right) / max(1, len(planted)), missed


def measure(count: int, peer: str | None, keep: Path | None) -> dict[str, Any]:
    """One row of the table."""
    top = Path(tempfile.mkdtemp(prefix="zoo-bench-"))
    folder, home = (keep or top) / f"cards-{count}", top / "home"
    planted = generate(folder, count)
    cards = str(folder)
    cold = zoo("validate", "--all", "--cards", cards, home=home)
    warm = min((zoo("validate", "--all", "--cards", cards, home=home) for _ in range(3)), key=lambda run: run.seconds)
    changed = folder / "fam00000" / "fam00000_w0.yaml"
    changed.write_text(changed.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    one = zoo("validate", "--all", "--cards", cards, home=home)
    listing = min((zoo("list", "--cards", cards, home=home) for _ in range(3)), key=lambda run: run.seconds)
    report = zoo("validate", "--all", "--cards", cards, "--format", "json", home=home).output
    precision, recall, missed = scores(planted, rules_by_card(report))
    theirs = None
    if peer:
        files = [str(path) for path in sorted(folder.rglob("*.yaml")) if path.name != "collection.yaml"]
        theirs = run(peer, "--schemafile", str(ROOT / "schemas" / "card.schema.json"), *files)
    shutil.rmtree(top)
    return {
        "cards": count, "cold": cold, "warm": warm, "one": one, "list": listing, "theirs": theirs,
        "precision": precision, "recall": recall, "missed": missed, "planted": len(planted),
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as pip leaves what it installs: compiled, like the peers
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", default="1000,3000,10000")
    parser.add_argument("--peer", default=shutil.which("check-jsonschema"))
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    print(
        "cards   cold s  cards/s  cpu ms/card  peak MiB  warm s  one changed s  list s  peer s (cpu ms/card)  cold x  warm x  cpu cold x  cpu warm x"
    )
    for count in map(int, options.sizes.split(",")):
        row = measure(count, options.peer, options.keep)
        cold, theirs = row["cold"], row["theirs"]
        peer = f"{theirs.seconds:8.2f} ({1000 * theirs.cpu_seconds / count:5.2f})" if theirs else f"{'-':>16}"
        times = (
            f"{theirs.seconds / cold.seconds:6.1f}  {theirs.seconds / row['warm'].seconds:6.1f}  {theirs.cpu_seconds / cold.cpu_seconds:6.1f}  {theirs.cpu_seconds / row['warm'].cpu_seconds:6.1f}"
            if theirs
            else "     -       -       -       -"
        )
        print(
            f"{count:6d} {cold.seconds:7.2f} {count / cold.seconds:8.0f} {1000 * cold.cpu_seconds / count:12.2f} "
            f"{cold.peak_mib:9.0f} {row['warm'].seconds:7.2f} {row['one'].seconds:14.2f} {row['list'].seconds:7.2f} "
            f"{peer:>21} {times}"
        )
        print(f"       {row['planted']} faults planted: precision {row['precision']:.3f}, recall {row['recall']:.3f}")
        for line in row["missed"][:20]:
            print(f"       missed {line}")
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
