"""Run zoo over mutated cards, foreign documents, weights files and every kind of file below ZOO_HOME, and count what breaks.

    python tests/bench/fuzz.py [INPUTS] [--seed SEED] [--first NUMBER] [--minutes MINUTES] [--kinds KIND,...]

Each input is one command of the command line, in this process, over files that are restored before it. It fails when zoo exits
with 70 or reports a bug in a finding, when it takes more than 10 s, or when a damaged file below ZOO_HOME changes what is
found. The number of an input and the seed reproduce it: `--first NUMBER 1`. The exit code is 1 when an input failed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.helpers.mutations import mutated_bytes, mutated_json, mutated_text, mutated_weights, other_number  # noqa: E402

MAX_SECONDS = 10
SEED = 20261128
KINDS = ("card", "document", "weights", "state")
MODEL = "resnest_digits"
CHECKS = "schema,consistency,files,build,params,flops,loading,fingerprint"
"""The checks of a run over damaged files: all but the evaluation, which takes seconds and reads its files in the same way."""


class Hang(BaseException):
    """The command took more than MAX_SECONDS."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code (-1 for a hang), its output, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def has_bug(self) -> bool:
        """Whether zoo met a bug of its own, in the command or in a finding."""
        return self.code not in (-1, 0, 1, 2, 3) or "this is a bug in zoo" in self.out + self.err


@dataclass
class Score:
    """What happened to the inputs of one kind, and the numbers of those that failed."""

    codes: Counter[int] = field(default_factory=Counter)
    bugs: list[int] = field(default_factory=list)
    hangs: list[int] = field(default_factory=list)
    false_answers: list[int] = field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0


class Bench:
    """A zoo, a home in which everything about it is known, and commands over mutations of both."""

    def __init__(self, folder: Path, seed: int = SEED) -> None:
        self.folder, self.seed = folder, seed
        self.zoo, self.home, self.warm = folder / "zoo", folder / "home", folder / "warm"
        os.environ["ZOO_HOME"] = str(self.home)
        self._write_zoo()
        self.home.mkdir()
        self.verify = ["verify", MODEL, "stored", "--check", CHECKS, "--cards", str(self.zoo), "--format", "json"]
        self._fill_home()
        shutil.copytree(self.home, self.warm)
        self.expected = found(run(self.verify))
        self.documents = self._documents()

    def input(self, number: int, kind: str) -> tuple[Outcome, bool]:
        """Run the input of that number; return its outcome, and whether it gave a false answer."""
        rng = random.Random(f"{self.seed} {number} {kind}")
        action: Callable[[random.Random], tuple[Outcome, bool]] = getattr(self, f"_{kind}")
        return action(rng)

    def _card(self, rng: random.Random) -> tuple[Outcome, bool]:
        cards = self.folder / "cards"
        _restore(self.zoo, cards)
        names = (f"digits/{MODEL}.yaml", "digits/collection.yaml", "datasets/digits.yaml", "bare.yaml")
        path = cards / rng.choice(names)
        path.write_bytes(mutated_text(rng, path.read_bytes()))
        commands = [["validate", "--all"], ["validate", "--all", "--format", "json"], ["list"], ["show", MODEL]]
        command = rng.choice(commands) if rng.random() < 0.9 else ["verify", "--all", "--check", "schema,build,params"]
        return run([*command, "--cards", str(cards)]), False

    def _document(self, rng: random.Random) -> tuple[Outcome, bool]:
        folder = self.folder / "documents"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        suffix, content = rng.choice(self.documents)
        path = folder / f"README{suffix}"
        path.write_bytes(mutated_text(rng, content))
        return run(["import", str(path), "--to", str(folder / "zoo"), "--dry-run"]), False

    def _weights(self, rng: random.Random) -> tuple[Outcome, bool]:
        cards = self.folder / "hostile"
        _restore(self.folder / "loose", cards)
        name = rng.choice(["net.safetensors", "net.pth", "net.bin"])
        path = cards / name
        path.write_bytes(mutated_weights(rng, path.read_bytes()))
        card = cards / f"{path.suffix.removeprefix('.')}.yaml"
        with card.open("a") as text:  # a hostile author gives the digest of the hostile file
            text.write(f"    sha256: {_sha256(path.read_bytes())}\n")
        return run(["verify", path.suffix.removeprefix("."), "--check", "files,loading", "--cards", str(cards)]), False

    def _state(self, rng: random.Random) -> tuple[Outcome, bool]:
        from tests.attacks.damage import DAMAGES, is_sealed, state_files
        from tests.helpers.state import rewrite

        _restore(self.warm, self.home)
        kept = [
            *state_files(self.home),
            *(self.home / "blobs").glob("*/.record-2.json"),
            *(self.home / "partial").glob("*.json"),
        ]
        path = rng.choice(kept)
        is_forged = False
        choice = rng.random()
        if choice < 0.3:
            rng.choice([*DAMAGES.values()])(path)
        elif choice < 0.5 or not is_sealed(path):
            path.write_bytes(mutated_bytes(rng, path.read_bytes()))
        elif choice < 0.85:  # JSON with another value, and the old checksum
            text = json.dumps(
                (other_number if choice < 0.7 else mutated_json)(rng, json.loads(path.read_text())),
                ensure_ascii=False,
                separators=(",", ":"),
            )
            path.write_bytes(text.encode(errors="surrogatepass"))
        else:  # as a faulty zoo could write it: with a right checksum
            is_forged = True
            with contextlib.suppress(ValueError):
                rewrite(path, lambda data: _as_object(mutated_json(rng, data)))
        command = self._command_about(rng, path)
        outcome = run(command)
        is_false = not is_forged and command is self.verify and found(outcome) != self.expected
        return outcome, is_false or (
            not is_forged and command[0] == "publish" and outcome.code == 0 and self._differs(path)
        )

    def _differs(self, path: Path) -> bool:
        """Return whether it is the report about the model that is published, and differs from the one that zoo wrote."""
        written = (self.warm / path.relative_to(self.home)).read_bytes()
        is_own = json.loads(written)["subjects"][0]["model"] == MODEL
        return is_own and not (path.is_file() and path.read_bytes() == written)

    def _command_about(self, rng: random.Random, path: Path) -> list[str]:
        part = path.relative_to(self.home).parts
        if "reports" in part:
            return ["publish", MODEL, "--to", f"folder:{self.folder}/release", "--dry-run", "--cards", str(self.zoo)]
        if part[0] == "partial":
            return rng.choice([["cache", "list", "--partial"], ["cache", "prune", "--dry-run"]])
        if part[0] == "blobs" and rng.random() < 0.5:
            return rng.choice([["cache", "list"], ["cache", "verify"], ["cache", "prune", "--dry-run"]])
        if "index" in part:
            return ["validate", "--all", "--cards", str(self.zoo)]
        return self.verify

    def _write_zoo(self) -> None:
        """Write a zoo of the digits model, a card without claims, and one whose file is in the store."""
        shutil.copytree(ROOT / "cards" / "digits", self.zoo / "digits")
        (self.zoo / "datasets").mkdir()
        for name in ("digits.yaml", "digits.csv.gz"):
            shutil.copy(ROOT / "cards" / "datasets" / name, self.zoo / "datasets" / name)
        (self.zoo / "bare.yaml").write_text("schema: 1\nname: bare\nlicense: mit\naliases: [naked]\n")
        for number in range(70):  # so many cards have an index
            (self.zoo / f"m{number}.yaml").write_text(f"schema: 1\nname: m{number}\nlicense: mit\n")
        self._write_loose_zoo()
        content = (self.folder / "loose" / "net.pth").read_bytes()
        digest = _sha256(content)
        blob = self.home / "blobs" / digest / "stored.pth"
        blob.parent.mkdir(parents=True)
        blob.write_bytes(content)
        (self.zoo / "stored.yaml").write_text(
            f"schema: 1\nname: stored\nlicense: mit\nweights:\n  - file: stored.pth\n    sha256: {digest}\n"
            "    urls: [https://host.invalid/stored.pth]\n"
        )
        shutil.move(self.home, self.folder / "store")

    def _write_loose_zoo(self) -> None:
        """Write cards whose files have no digests, so that changed files reach the readers."""
        import torch
        from safetensors.torch import load_file

        loose = self.folder / "loose"
        loose.mkdir()
        weights = next((self.zoo / "digits").glob("*.safetensors"))
        shutil.copy(weights, loose / "net.safetensors")
        torch.save(load_file(weights), loose / "net.pth")
        torch.save(load_file(weights), loose / "net.bin", _use_new_zipfile_serialization=False)
        builder = next(
            line
            for line in (self.zoo / "digits" / f"{MODEL}.yaml").read_text().splitlines()
            if line.startswith("builder:")
        )
        block = (self.zoo / "digits" / f"{MODEL}.yaml").read_text().partition("builder:")[2].partition("\ninput:")[0]
        builder = f"builder:{block}" if builder == "builder:" else builder
        for name in ("safetensors", "pth", "bin"):
            (loose / f"{name}.yaml").write_text(
                f"schema: 1\nname: {name}\nlicense: mit\n{builder}\nweights:\n  - file: net.{name}\n"
            )

    def _fill_home(self) -> None:
        """Measure everything about the zoo, and leave an interrupted download."""
        from zoo.runtime.storage import sealed

        shutil.rmtree(self.home)
        shutil.move(self.folder / "store", self.home)
        ran = run(["verify", MODEL, "stored", "--cards", str(self.zoo)], limit=300)
        assert ran.code == 0, ran
        ran = run(self.verify, limit=300)
        assert ran.code == 0, ran
        run(["validate", "--all", "--cards", str(self.zoo)])
        partial = self.home / "partial"
        partial.mkdir(exist_ok=True)
        (partial / "0123456789abcdef.00000000.part").write_bytes(bytes(1000))
        sidecar = partial / "0123456789abcdef.00000000.json"
        data = {"part": 1, "file": "net.pth", "url": "https://host.invalid/net.pth", "size_bytes": 2000, "etag": "",
                "modified": "", "done": [[0, 500]], "machine": "other", "pid": 0}  # fmt: skip
        sidecar.write_bytes(sealed(sidecar, data))

    def _documents(self) -> list[tuple[str, bytes]]:
        from tests.test_fuzz import SEEDS as texts

        return [(suffix, text.encode()) for text in texts for suffix in (".md", ".yml", ".csv", ".txt", ".json")]


def run(arguments: list[str], limit: int = MAX_SECONDS) -> Outcome:
    """Run `zoo ARGUMENTS` in this process for at most that many seconds."""
    import zoo_cli

    out, err, code = io.StringIO(), io.StringIO(), -1
    before, sys.argv = sys.argv, ["zoo", *arguments]
    started = time.monotonic()
    signal.alarm(limit)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            zoo_cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except Hang:
        code = -1
    finally:
        signal.alarm(0)
        sys.argv = before
        gc.unfreeze()  # of `main`, which expects that the process ends
    return Outcome(code, out.getvalue(), err.getvalue(), time.monotonic() - started)


def found(outcome: Outcome) -> Any:
    """Return what a `--format json` command found, without what differs between runs."""
    try:
        findings = json.loads(outcome.out)["findings"]
    except (ValueError, KeyError, TypeError):
        return outcome.code
    keys = ("model", "check", "key", "status", "claimed", "measured", "unit", "tolerance", "reason")
    return outcome.code, [tuple(str(item[key]) for key in keys) for item in findings]


def _as_object(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {"value": data}


def _restore(source: Path, target: Path) -> None:
    for path in (target, *target.rglob("*")) if target.exists() else ():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def bench(seed: int = SEED) -> Iterator[Bench]:
    """Give a bench in a temporary folder, with one worker process for all inputs."""
    from tests.helpers.workers import SharedWorkers
    from zoo.runtime import worker_process

    def alarm(number: int, frame: object) -> None:
        raise Hang

    previous, own, workers = signal.signal(signal.SIGALRM, alarm), worker_process.WorkerProcess, SharedWorkers()
    variables = dict(os.environ)
    worker_process.WorkerProcess = workers  # type: ignore[misc, assignment]  # it stands in for the class
    try:
        with tempfile.TemporaryDirectory() as name:
            yield Bench(Path(name), seed)
    finally:
        workers.end()
        worker_process.WorkerProcess = own  # type: ignore[misc]
        signal.signal(signal.SIGALRM, previous)
        os.environ.clear()
        os.environ.update(variables)


def fuzz(inputs: int, *, seed: int = SEED, first: int = 0, minutes: float = 1e9, kinds: tuple[str, ...] = KINDS,
         report_line: Callable[[str], None] = lambda line: None) -> dict[str, Score]:  # fmt: skip
    """Run that many inputs, or as many as the time allows, of each kind in turn, and return the scores."""
    scores = {kind: Score() for kind in kinds}
    deadline = time.monotonic() + 60 * minutes
    with bench(seed) as made:
        for number in range(first, first + inputs):
            if time.monotonic() > deadline:
                report_line(f"stopped before input {number}")
                break
            kind = kinds[number % len(kinds)]
            outcome, is_false = made.input(number, kind)
            score = scores[kind]
            score.codes[outcome.code] += 1
            score.seconds += outcome.seconds
            score.slowest = max(score.slowest, outcome.seconds)
            for failed, numbers in (
                (outcome.has_bug, score.bugs),
                (outcome.code == -1, score.hangs),
                (is_false, score.false_answers),
            ):
                if failed:
                    numbers.append(number)
                    report_line(
                        f"input {number} ({kind}): exit {outcome.code}, {outcome.seconds:.1f} s\n{outcome.err[-1500:]}"
                    )
    return scores


def main() -> None:
    """Run the inputs and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="?", type=int, default=10_000, help="how many inputs (default: 10000)")
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the mutations (default: {SEED})")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (default: 0)")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time (default: no limit)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"what is mutated (default: {','.join(KINDS)})")
    options = parser.parse_args()
    kinds = tuple(options.kinds.split(","))
    scores = fuzz(options.inputs, seed=options.seed, first=options.first, minutes=options.minutes, kinds=kinds,
                  report_line=lambda line: print(line, flush=True))  # fmt: skip
    print(f"{'kind':<10}{'inputs':>8}{'exit 70':>9}{'hangs':>7}{'false':>7}{'slowest s':>11}{'mean s':>8}  exit codes")
    for kind, score in scores.items():
        inputs = sum(score.codes.values())
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(score.codes.items()))
        mean = score.seconds / max(1, inputs)
        print(f"{kind:<10}{inputs:>8}{len(score.bugs):>9}{len(score.hangs):>7}{len(score.false_answers):>7}"
              f"{score.slowest:>11.2f}{mean:>8.3f}  {codes}")  # fmt: skip
    sys.exit(1 if any(score.bugs or score.hangs or score.false_answers for score in scores.values()) else 0)


if __name__ == "__main__":
    main()
