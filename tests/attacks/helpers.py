"""What attacks share: the command line in a process of its own with bounds, and what it found."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.project import ROOT, Ran

MAX_SECONDS = 60
MAX_BYTES = 3 * 2**30
"""The time and the memory of a command over a hostile zoo; more is a failure of the defence."""


def run_cli(*arguments: object, cwd: Path | None = None, **variables: str) -> Ran:
    """Run `zoo ARGUMENTS` in a process of its own, which may use MAX_BYTES and must end after MAX_SECONDS."""
    process = subprocess.run(
        [sys.executable, "-m", "zoo", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=MAX_SECONDS,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES)),
        check=False,
    )
    assert "Traceback" not in process.stderr, process.stderr
    return Ran(process.returncode, process.stdout, process.stderr)


def findings(ran: Ran) -> list[dict[str, Any]]:
    """Return the findings of a command that printed a report with `--format json`."""
    report: dict[str, Any] = json.loads(ran.out)
    return list(report["findings"])


def about(ran: Ran, model: str) -> list[dict[str, Any]]:
    """Return the findings about one model, without what depends on the moment of the run."""
    kept = [item for item in findings(ran) if item["model"] == model]
    for item in kept:
        for name in ("measured", "reused"):  # the time, and versions of code that changed since an earlier run
            item.get("evidence", {}).pop(name, None)
    return kept


def copy_digits(zoo: Path) -> Path:
    """Copy the digits model, with its weights, and its data set to a zoo, and return the card's file."""
    shutil.copytree(ROOT / "cards" / "digits", zoo / "digits")
    (zoo / "datasets").mkdir()
    for name in ("digits.yaml", "digits.csv.gz"):
        shutil.copy(ROOT / "cards" / "datasets" / name, zoo / "datasets" / name)
    return zoo / "digits" / "resnest_digits.yaml"
