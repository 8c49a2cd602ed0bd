"""Bytes and mutated YAML: never a traceback, never a hang, and no more than 200 MB.

A few seconds here; ZOO_FUZZ_EXAMPLES=100000 for as long as one likes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conversion.test_dialects import LINES, MODEL, PAGE, README, flattened
from tests.conversion.test_exporter import ODD
from tests.helpers.project import ROOT
from tests.helpers.strategies import cards
from zoo.conversion.dialects import SourceFile, csv, hf, model_index
from zoo.registry import schema
from zoo.registry.document import decode, parse, parse_foreign
from zoo.registry.edit import card_text
from zoo.registry.schema import problems
from zoo.registry.yaml_nodes import Plain, scalar

EXAMPLES = int(os.environ.get("ZOO_FUZZ_EXAMPLES", "150"))
fuzz = settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
SEEDS = [
    ODD,
    MODEL,
    PAGE,
    README,
    flattened(LINES),
    (ROOT / "cards/resnest/resnest14d.yaml").read_text(encoding="utf-8"),
]
SPLICES = st.sampled_from(["\t", "\0", "---\n", "&a ", "*a ", "<<: ", "!!python/object:x ", "|\n", "[", "{", "'", '"', "#", ": ", "- ", "\n", "٣", "\ufeff", "1e999", ".nan", "0x", "\x85", "?", "%", "`", "@"])  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A real document with pieces cut out, doubled, moved and replaced."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start, stop = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        piece = draw(SPLICES | st.text(max_size=5) | st.just(text[start:stop]))
        text = draw(
            st.sampled_from(
                [text[:start] + piece + text[start:], text[:start] + piece + text[stop:], text[:start] + text[stop:]]
            )
        )
    return text[:20_000]


def look(text: str) -> None:
    """Everything that reads texts that others wrote."""
    path = Path("fuzzed.yaml")
    for document in (parse(text, path, "fuzzed"), parse_foreign(text, path, "fuzzed")):
        for kind in ("card", "collection", "dataset"):
            assert isinstance(problems(document, kind), tuple)
        assert document.place(("claims", "flops", 0)).line >= 1
    for dialect, name in (
        (model_index, "m.yml"),
        (model_index, "m.md"),
        (model_index, "m.txt"),
        (hf, "README.md"),
        (csv, "t.csv"),
    ):
        file = SourceFile(Path(name), name, text)
        dialect.recognises(file)
        for draft in dialect.read(file).drafts:
            assert parse(card_text(dict(draft.data)), path, "written").data == _plain(draft.data)


def _plain(value: Any) -> Any:
    """Data as the card's reader has it: raw scalars read as YAML 1.2."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return scalar(str(value)) if isinstance(value, Plain) else value


@fuzz
@given(mutated())
def test_mutated_documents(text: str) -> None:
    look(text)


@fuzz
@given(st.binary(max_size=500) | st.text(max_size=500).map(str.encode))
def test_bytes(raw: bytes) -> None:
    document = decode(raw, Path("fuzzed.yaml"), "fuzzed")
    problems(document, "card")
    look(raw.decode("utf-8", "replace"))


@fuzz
@given(cards())
def test_any_card_survives_writing_and_reading(data: dict[str, Any]) -> None:
    document = parse(card_text(data), Path("card.yaml"), "card")
    assert document.problems == ()
    assert document.data == data
    assert problems(document, "card") == ()
    assert parse(card_text(document.data), Path("card.yaml"), "card").data == data


@fuzz
@given(cards() | mutated().map(lambda text: dict(parse(text, Path("x"), "x").data)))
def test_the_quick_validator_and_jsonschema_agree(data: dict[str, Any]) -> None:
    fits = schema._fits(data, "card")
    assert fits is None or not fits or schema.violations(data, "card") == ()


BOMBS = {
    "brackets": "[" * 20_000,
    "braces": "{a: " * 20_000,
    "sequences": "- " * 20_000 + "a",
    "indentation": "".join(f"{' ' * depth}a:\n" for depth in range(3_000)),
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(12)),
    "merges": "a: &a {x: 1}\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{', '.join([f'*{chr(97 + i)}'] * 9)}]}}\n" for i in range(12)),
    "itself": "Models: &a\n  - Name: x\n    Results: *a\n",
    "digits": "Models: [{Name: x, Metadata: {Parameters: " + "9" * 100_000 + "}}]",
    "comments": "<!--" * 50_000,
    "fences": "```\n" * 50_000,
    "quotes": "'" * 100_000,
    "rows": "model,top1\n" + "x,1\n" * 50_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_time_and_space(name: str, tmp_path: Path) -> None:
    for suffix in ("yml", "md", "txt", "csv"):
        (tmp_path / f"bomb.{suffix}").write_text(BOMBS[name], encoding="utf-8")
    program = (
        "import pathlib, resource, sys, zoo_cli\n"
        "try: zoo_cli.main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != 'darwin' else 2**20)\n"
        "status = pathlib.Path('/proc/self/status')\n"  # Linux counts the parent's memory in ru_maxrss, in VmHWM not
        "lines = status.read_text().splitlines() if status.exists() else []\n"
        "peak = next((int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM')), peak)\n"
        "print('code', code, 'peak below 200 MB', peak < 200)\n"
    )
    for arguments in (
        ["import", str(tmp_path), "--to", str(tmp_path / "zoo"), "--dry-run"],
        ["validate", str(tmp_path / "bomb.yml")],
    ):
        ran = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ran.stderr, ran.stderr
        assert ran.stdout.splitlines()[-1].startswith("code ")
        assert ran.stdout.splitlines()[-1].endswith("peak below 200 MB True")
