"""Every benchmark in tests/bench explains its arguments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.project import ROOT

BENCHMARKS = sorted((ROOT / "tests" / "bench").glob("[!_]*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_has_help(path: Path, tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, path, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout.startswith("usage: "), ran.stderr) == (0, True, "")
