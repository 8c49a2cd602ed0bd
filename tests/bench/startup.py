"""Compare how long zoo's commands and their peers take to start: medians and ratios.

    python tests/bench/startup.py [ROUNDS]

It prints the median wall time of each command, of its peer, and the ratio (goals in brackets); and the CPU time of verifying
the parameters and FLOPs of the eight ResNeSt cards, less that of importing torch and timm.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
PYTHON = str(sys.executable)
CLICK = "python -c 'import click'"
RESNESTS = ("resnest14d", "resnest26d", "resnest50d", "resnest50d_1s4x24d", "resnest50d_4s2x40d", "resnest101e",
            "resnest200e", "resnest269e")  # fmt: skip


def once(command: list[str], home: str) -> tuple[float, float]:
    """Return the wall seconds and CPU seconds of one run; a failure ends the benchmark."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "ZOO_HOME": home, "HF_HUB_DISABLE_TELEMETRY": "1"}
    subprocess.run(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(commands: dict[str, list[str]], rounds: int, *, cold: bool = False) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU seconds of each command; the commands alternate, so that noise affects all equally."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as shared:
        for _ in range(rounds):
            for name, command in commands.items():
                home = tempfile.mkdtemp(dir=shared) if cold else shared
                runs[name].append(once(command, home))
    return {name: tuple(map(statistics.median, zip(*times, strict=True))) for name, times in runs.items()}


def main() -> None:
    """Run all commands and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=11, help="how often each command runs (default: 11)")
    rounds = parser.parse_args().rounds
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # pip compiles what it installs, so the peers are compiled
    zoo = shutil.which("zoo", path=str(BIN)) or sys.exit("install zoo into this environment first: pip install -e .")
    hf = shutil.which("hf", path=str(BIN)) or sys.exit("huggingface_hub's command is not in this environment")
    quick = medians(
        {
            CLICK: [PYTHON, "-c", "import click"],
            "zoo --help": [zoo, "--help"],
            "hf --help": [hf, "--help"],
            "zoo list": [zoo, "list"],
            "zoo validate --all": [zoo, "validate", "--all"],
        },
        rounds,
    )
    for name, (wall, cpu) in quick.items():
        print(f"{name:32} {wall:6.3f} s wall {cpu:6.3f} s cpu")
    help_wall = quick["zoo --help"][0]
    print(f"zoo --help / import click        {help_wall / quick[CLICK][0]:6.2f} [<= 1.4]")
    print(f"zoo --help / hf --help           {help_wall / quick['hf --help'][0]:6.2f} [<= 0.3]")
    slow = medians(
        {
            "import torch, timm": [PYTHON, "-c", "import torch, timm"],
            "zoo verify params,flops (cold)": [zoo, "verify", *RESNESTS, "--check", "params,flops"],
        },
        max(3, rounds // 3),
        cold=True,
    )
    for name, (wall, cpu) in slow.items():
        print(f"{name:32} {wall:6.3f} s wall {cpu:6.3f} s cpu")
    above = slow["zoo verify params,flops (cold)"][1] - slow["import torch, timm"][1]
    print(f"CPU above the imports            {above:6.2f} s [<= 4]")


if __name__ == "__main__":
    main()
