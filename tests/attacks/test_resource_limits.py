"""Cards that would use time, memory or processes without bound, or that answer for zoo, are findings of their own only.

The limits are made small, because the real ones take a minute for each card. `--allow-code` is given: what code does that a
user has allowed cannot all be defended, but what is tested here must not harm other cards, nor stay when zoo ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.helpers import copy_digits
from tests.helpers.project import ROOT, replace_once
from zoo.runtime.limits import GB

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
CODE = (
    *("sleeps", "loops", "allocates", "shares", "forks", "forks_and_returns", "forks_and_allocates", "exits", "aborts"),
    *("raises_exit", "raises_interrupt", "prints", "changes_folder", "forges", "garbles", "patches"),
)
"""The functions of hostile_builders."""
ARCHITECTURES = {
    "blocks": "{library: timm, entry: resnet50, options: {layers: [200000, 1, 1, 1]}}",
    "layers": "{library: timm, entry: vit_tiny_patch16_224, options: {depth: 1000000}}",
    "width": "{library: timm, entry: resnet18, options: {base_width: 1000000, cardinality: 1000000}}",
    "classes": "{library: timm, entry: resnet18, options: {num_classes: 9000000000000000}}",
}
SMALL_LIMITS = """
import sys
from zoo.runtime import limits
limits.CALL_SECONDS, limits.CALL_BYTES = 8.0, 10**9
sys.argv[0] = "zoo"
import zoo_cli
zoo_cli.main()
"""


@dataclass(frozen=True)
class Watched:
    """What a command found, by model, check and key; what it printed; how long it took and how much memory at most."""

    code: int
    by_key: dict[tuple[str, str, str], dict[str, Any]]
    printed: str
    seconds: float
    peak_bytes: int


def watch(*arguments: object, cwd: Path, **variables: str) -> Watched:
    """Run `zoo verify` with small limits, and watch the memory of its processes."""
    folders = [str(ROOT), str(ROOT / "tests" / "attacks")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), **variables}
    command = [sys.executable, "-c", SMALL_LIMITS, "verify", *map(str, arguments), "--format", "json"]
    started, peak_bytes = time.monotonic(), 0
    with (cwd / "out").open("w+") as out, (cwd / "err").open("w+") as err:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=err)
        while process.poll() is None:
            assert time.monotonic() - started < 280
            peak_bytes = max(peak_bytes, sum(map(resident_bytes, tree(process.pid))))
            time.sleep(0.05)
        out.seek(0)
        err.seek(0)
        printed, errors = out.read(), err.read()
    assert "Traceback" not in errors, errors
    by_key = {(item["model"], item["check"], item["key"]): item for item in json.loads(printed)["findings"]}
    return Watched(process.returncode, by_key, printed + errors, time.monotonic() - started, peak_bytes)


def tree(number: int) -> list[int]:
    """Return the processes that descend from this one, with it."""
    members = [number]
    for member in members:
        for file in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                members += map(int, file.read_text().split())
            except OSError:
                continue
    return members


def resident_bytes(number: int) -> int:
    """Return the memory that a process occupies; of pages that several share, each has its part (Pss of proc(5))."""
    try:
        (line,) = (
            line for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
        )
    except (OSError, ValueError):
        return 0
    return int(line.split()[1]) * 1024


def write_card(zoo: Path, name: str, builder: str, *, params: int = 6) -> None:
    claims = f"claims: {{params: {{value: {params}}}}}\n"
    (zoo / f"{name}.yaml").write_text(f"schema: 1\nname: {name}\nbuilder: {builder}\n{claims}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Verify all hostile cards, each followed by an honest one, and one with a wrong claim; their folder is relative."""
    folder = tmp_path_factory.mktemp("hostile")
    zoo = folder / "zoo"
    zoo.mkdir()
    for name in CODE:
        write_card(zoo, name, f"{{library: python, entry: 'hostile_builders:{name}'}}")
    for name, builder in ARCHITECTURES.items():
        write_card(zoo, name, builder)
    write_card(zoo, "wrong_claim", "{library: timm, entry: test_byobnet}", params=5)
    checks = ("--check", "build,params", "--allow-code", "--jobs", 2, "--all")
    variables = {"ZOO_HOME": str(folder / "home"), "FORKED": str(folder / "forked")}
    return watch("--cards", "zoo", *checks, cwd=folder, **variables)


def build_of(run: Watched, name: str) -> tuple[str, str]:
    finding = run.by_key[name, "build", "build"]
    return finding["status"], finding["reason"]


TOO_LONG, TOO_MUCH = "took longer than 8 s", "needs more than 1.0 GB of memory"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sleeps", TOO_LONG),
        ("loops", TOO_LONG),
        ("allocates", TOO_MUCH),
        ("shares", TOO_MUCH),
        ("forks_and_allocates", TOO_MUCH),
        ("exits", "the worker process ended with exit code 0"),
        ("aborts", "the worker process was killed by SIGABRT"),
        ("raises_exit", "SystemExit: 0"),
        ("raises_interrupt", "KeyboardInterrupt"),
        ("forges", "the worker process sent"),  # an answer to another question, or to another call
    ],
)
def test_hostile_code_is_an_unknown_finding_with_its_reason(name: str, reason: str, run: Watched) -> None:
    status, found = build_of(run, name)
    assert status == "unknown" and found.startswith(reason), found


def test_bytes_that_are_no_answer_are_a_finding(run: Watched) -> None:
    assert build_of(run, "garbles")[0] == "unknown"


@pytest.mark.parametrize("name", ["forks", "forks_and_returns", "prints", "changes_folder", "patches"])
def test_code_that_builds_a_model_is_measured(name: str, run: Watched) -> None:
    assert build_of(run, name)[0] == run.by_key[name, "params", "params"]["status"] == "ok"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_without_bounds_is_never_ok(name: str, run: Watched) -> None:
    assert build_of(run, name)[0] in {"unknown", "wrong"}
    assert run.by_key[name, "params", "params"]["status"] in {"unknown", "wrong"}


@pytest.mark.parametrize("name", ["blocks", "layers"])
def test_too_many_layers_exceed_a_limit(name: str, run: Watched) -> None:
    status, reason = build_of(run, name)
    assert status == "unknown" and reason in {TOO_LONG, TOO_MUCH}
    assert run.by_key[name, "build", "build"]["hint"]


def test_no_card_changes_what_is_found_about_another(run: Watched) -> None:
    assert run.code == 1
    assert run.by_key["wrong_claim", "params", "params"]["status"] == "wrong"
    assert build_of(run, "wrong_claim")[0] == "ok"


def test_what_a_worker_prints_is_not_shown(run: Watched) -> None:
    assert "FORGED" not in run.printed


def test_no_process_stays(run: Watched, tmp_path_factory: pytest.TempPathFactory) -> None:
    (file,) = {path.resolve() for path in tmp_path_factory.getbasetemp().glob("hostile*/forked")}
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_time_and_memory_are_bounded(run: Watched) -> None:
    assert GB < run.peak_bytes < 3 * GB  # of two workers, whose limit is 1 GB each


def test_an_input_that_does_not_fit_the_memory_ends_its_own_check(tmp_path: Path) -> None:
    card = copy_digits(tmp_path / "zoo")
    replace_once(card, "  size: [3, 32, 32]", "  size: [3, 7936, 7936]")
    ran = watch(
        "resnest_digits", "--cards", "zoo", "--check", "fingerprint,loading", cwd=tmp_path, ZOO_HOME=str(tmp_path)
    )
    finding = ran.by_key["resnest_digits", "fingerprint", "fingerprint"]
    assert finding["status"] == "unknown" and finding["reason"] == TOO_MUCH
    assert ran.by_key["resnest_digits", "loading", "resnest_digits-9fd38cd8.safetensors"]["status"] == "ok"
    assert ran.peak_bytes < 3 * GB


def test_another_card_that_needs_too_much_leaves_the_verdict_on_a_misfit(tmp_path: Path) -> None:
    """The hint compares the file with the architectures of other cards, here with one that takes for ever."""
    card = copy_digits(tmp_path / "zoo")
    replace_once(card, "entry: resnest14d", "entry: resnest26d")
    write_card(tmp_path / "zoo", "blocks", ARCHITECTURES["blocks"], params=64482)
    ran = watch("resnest_digits", "--cards", "zoo", "--check", "loading", cwd=tmp_path, ZOO_HOME=str(tmp_path))
    finding = ran.by_key["resnest_digits", "loading", "resnest_digits-9fd38cd8.safetensors"]
    assert finding["status"] == "wrong" and "do not fit resnest26d" in finding["reason"]
