"""Facts at scale: do counts agree with what torchvision and timm publish, and how long does every architecture take.

    python tests/bench/facts.py torchvision            115 weight sets: parameters, and _ops to the three decimals
    python tests/bench/facts.py timm --results FILE    a benchmark CSV of timm: param_count and infer_gmacs, two decimals
    python tests/bench/facts.py scale [--every N]      zoo verify --jobs 2, cold and warm, against a plain serial loop

`--every N` takes each Nth architecture only. All of it takes a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LIMIT_OF_SERIAL, WARM_SECONDS, WORKER_MIB = 0.4, 3.0, 1229


def torchvision_table() -> None:
    """Each of torchvision's classification weight sets beside its own metadata."""
    from torchvision import models

    from zoo.flops.counting import count, measure_state
    from zoo.models.builders import torchvision
    from zoo.models.meta import meta_build

    rows = differing = 0
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            entry, size = f"{name}.{weights.name}", weights.transforms().crop_size[0]
            options = {"image_size": size} if name.startswith("vit_") else {}
            with meta_build():
                module = torchvision.build(entry, options)
            params, ops = measure_state(module).params, count(module, (3, size, size), "torchvision").value / 1e9
            rows += 1
            if params != weights.meta["num_params"] or round(ops, 3) != weights.meta["_ops"]:
                differing += 1
                print(
                    f"  {entry}: {params:,} and {ops:.4f}, published {weights.meta['num_params']:,} and {weights.meta['_ops']}"
                )
    print(f"torchvision: {rows - differing} of {rows} weight sets agree in parameters and _ops")


@dataclass
class Agreement:
    """What came out of comparing a table: rows by how their numbers were reproduced, and why others were left out."""

    params: Counter[str] = field(default_factory=Counter)
    gmacs: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def timm_table(results: Path, every: int) -> None:
    """Each row of a benchmark table beside what is counted, at the row's input; what nothing reproduces is named."""
    agreement = Agreement()
    for row in list(csv.DictReader(results.open()))[::every]:
        compare_row(row, agreement)
    total = sum(agreement.params.values())
    print(f"timm: {total} architectures at the input of the table; left out: {dict(agreement.left_out)}")
    print(f"  parameters to the published rounding: {shares(agreement.params, total)}")
    print(f"  gmacs to the published rounding: {shares(agreement.gmacs, total)}")


def shares(counts: Counter[str], total: int) -> str:
    return ", ".join(f"{name} {number} ({number / total:.1%})" for name, number in counts.most_common())


def compare_row(row: dict[str, str], agreement: Agreement) -> None:
    import timm

    name, size = row["model"].partition(".")[0], int(row["infer_img_size"])
    if not timm.is_model(name):
        agreement.left_out["not in this timm"] += 1
        return
    if timm.get_pretrained_cfg(name).input_size[-1] != size:
        agreement.left_out["another input"] += 1
        return
    params, gmacs = float(row["param_count"]), float(row["infer_gmacs"])
    forms = list(counted(name, size, deploy=False))
    if not any(agrees(form[1], params, 1e6) and agrees(form[2], gmacs, 1e9) for form in forms):
        forms += counted(name, size, deploy=True)
    how = next((form[0] for form in forms if agrees(form[1], params, 1e6)), "")
    agreement.params["not" if not how else "folded" if how.startswith("folded") else "as built"] += 1
    # A count only explains the other number where it is of the same form of the network.
    same_form = [form for form in forms if agrees(form[1], params, 1e6)] or forms
    fitting = next((form[0] for form in same_form if agrees(form[2], gmacs, 1e9)), "")
    agreement.gmacs[fitting or "not"] += 1
    if not (how and fitting):
        first = forms[0]
        text = f"{first[1] / 1e6:.3f} M and {first[2] / 1e9:.3f} G, published {params} and {gmacs}"
        print(f"  {name}@{size}: {text}; {CHANGED_SINCE.get(name, 'not explained')}", flush=True)


def counted(name: str, size: int, *, deploy: bool) -> Iterator[tuple[str, int, int]]:
    """(how, parameters, operations) under each convention that fits such tables, of the network as built or folded."""
    import timm

    from zoo.flops.conventions import fvcore
    from zoo.flops.counting import measure_state, tally
    from zoo.flops.tracing import trace
    from zoo.models.meta import meta_build

    with meta_build():
        module = timm.create_model(name).eval()
    if deploy:
        if not any(hasattr(part, word) for part in module.modules() for word in FOLDS):
            return
        # Folding computes with the weights of the branches, so they must be there.
        module = timm.models.reparameterize_model(timm.create_model(name).eval()).to("meta")
    params, recorded = measure_state(module).params, trace(module, (1, 3, size, size))
    form = "folded, " if deploy else ""
    yield f"{form}macs", params, tally(recorded, "macs").value
    yield f"{form}fvcore", params, tally(recorded, "fvcore").value
    for variant, rule in fvcore.VARIANTS.items():
        yield f"{form}fvcore {variant}", params, rule(recorded)


CHANGED_SINCE = {
    "ecaresnext50t_32x4d": "timm 1.0.11 built ecaresnext26t_32x4d under this name: 15.406 M and 2.699 G",
    "hieradet_small": "timm 1.0.11 built 34.718 M and 8.514 G",
    "tnt_b_patch16_224": "timm 1.0.11 built 65.407 M and 14.089 G",
    "tnt_s_patch16_224": "timm 1.0.11 built 23.755 M and 5.241 G",
    "vit_so150m_patch16_reg4_map_256": "timm 1.0.11 built 141.481 M and 37.176 G",
    "vitamin_small_224": "timm 1.0.11 built 22.026 M and 5.915 G",
}
"""Architectures that timm changed after its tables of late 2024; what this counter gives for them on the timm of then,
2026-11-24: the published numbers, under fvcore's rule."""

FOLDS = ("fuse", "reparameterize", "switch_to_deploy")
"""The methods that timm's reparameterize_model calls (timm/models/_manipulate.py, 1.0.31)."""


def agrees(value: int, published: float, unit: float) -> bool:
    """Whether the value rounds to the published one, at two decimals of the unit."""
    return abs(value / unit - published) <= 0.005 + 1e-9


SERIAL = """
import json, sys, time, timm, torch
from torch.utils.flop_counter import FlopCounterMode
macs = {}
for name in json.loads(sys.argv[1]):
    size = timm.get_pretrained_cfg(name).input_size
    with torch.device("meta"):
        model = timm.create_model(name).eval().requires_grad_(False)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *size, device="meta"))
    macs[name] = counter.get_total_flops() // 2
print(json.dumps(macs))
"""
"""The plain loop: build on meta, count with torch's counter; nothing else."""

WARM = """
import sys, zoo_cli
sys.argv = ["zoo", "verify", "--all", "--check", "params,flops", "--cards", sys.argv[1]]
try: zoo_cli.main()
except SystemExit: print("torch" in sys.modules)
"""


def scale(every: int) -> None:
    """Every architecture of timm as a card: verified cold with two workers, warm, and by the plain loop; with memory."""
    import timm

    names = timm.list_models()[::every]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_cards(folder / "cards", names)
        environment = {**os.environ, "ZOO_HOME": str(folder / "home"), "NO_COLOR": "1"}
        verify = [sys.executable, str(ROOT / "zoo_cli.py"), "verify", "--all", "--cards", str(folder / "cards"),
                  "--check", "params,flops", "--jobs", "2", "--report", str(folder / "report.json")]  # fmt: skip
        cold = timed(verify, environment)
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        findings = json.loads((folder / "report.json").read_text())["findings"]
        print(f"cold, --jobs 2: {cold} for {len(names)} architectures, exit code {cold.code}")
        print(f"  largest process {peak_mib:.0f} MiB [<= {WORKER_MIB}]")
        warm = timed([sys.executable, "-c", WARM, str(folder / "cards")], environment)
        print(f"warm: {warm} [<= {WARM_SECONDS} s]; torch imported: {warm.out.splitlines()[-1]} [False]", flush=True)
        plain = timed([sys.executable, "-c", SERIAL, json.dumps(names)], environment)
        judge(findings, json.loads(plain.out.splitlines()[-1]))
        print(f"plain loop: {plain}; cold / plain {cold.seconds / plain.seconds:.2f} [<= {LIMIT_OF_SERIAL}]")
        print(f"  of processor time {cold.processor_seconds / plain.processor_seconds:.2f}, on two cores")


def write_cards(folder: Path, names: list[str]) -> None:
    import timm

    from zoo.registry.edit import card_text

    folder.mkdir()
    for name in names:
        size = list(timm.get_pretrained_cfg(name).input_size)
        card = {"name": name, "builder": {"library": "timm", "entry": name}, "input": {"size": size}}
        (folder / f"{name}.yaml").write_text(card_text(card))


@dataclass(frozen=True)
class Run:
    """A command that ended: seconds on the wall and of processors, exit code, and what it printed."""

    seconds: float
    processor_seconds: float
    code: int
    out: str

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s ({self.processor_seconds:.1f} s of processors)"


def timed(command: list[str], environment: dict[str, str]) -> Run:
    started, before = time.perf_counter(), processor_seconds()
    ran = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    return Run(time.perf_counter() - started, processor_seconds() - before, ran.returncode, ran.stdout)


def processor_seconds() -> float:
    """Of all ended child processes, theirs included: what a loaded machine changes least."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def judge(findings: list[dict[str, Any]], plain: dict[str, int]) -> None:
    """Print what could not be measured, and where the plain loop counted something else."""
    statuses = Counter((finding["check"], finding["status"]) for finding in findings)
    print("; ".join(f"{check} {status} {number}" for (check, status), number in sorted(statuses.items())))
    for finding in findings:
        if finding["measured"] is None:
            print(f"  {finding['model']} {finding['check']}: {finding['reason']}")
    counts = {finding["model"]: finding["measured"] for finding in findings if finding["key"] == "macs"}
    apart = {name: (counts[name], number) for name, number in plain.items() if counts[name] != number}
    print(f"{len(plain) - len(apart)} of {len(plain)} counts equal the plain loop's")
    for name, (ours, theirs) in apart.items():
        print(f"  {name}: {ours}, plain {theirs}")


def main() -> None:
    """Run what was asked for and print."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as pip leaves what it installs: compiled, like the peers
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("torchvision", "timm", "scale"))
    parser.add_argument("--results", type=Path, help="a benchmark CSV of timm")
    parser.add_argument("--every", type=int, default=1, help="take each Nth architecture")
    asked = parser.parse_args()
    if asked.what == "torchvision":
        torchvision_table()
    elif asked.what == "timm":
        timm_table(asked.results, asked.every)
    else:
        scale(asked.every)


if __name__ == "__main__":
    main()
