"""Real documents, side by side: what zoo reads in them and finds wrong, and what the format's reference library does.

    python tests/bench/import.py FOLDER [--peer PATH/TO/python]

FOLDER holds documents: Markdown and MDX pages, metafiles, in any depth. The peer is a Python of an environment of its own
with model-index 0.1.11 (PyPI); without it its columns stay empty. For each document: models read, whether exporting gives
back equal data, and how many models are wrong or suspect; the peer: models read, and what its `check` says.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402  # after the path is set

from zoo.conversion import exporter, importer  # noqa: E402
from zoo.conversion.dialects import SourceFile, model_index  # noqa: E402
from zoo.conversion.mapping import equal  # noqa: E402
from zoo.registry import catalog  # noqa: E402
from zoo.registry.catalog import load_catalog  # noqa: E402
from zoo.verification import lint  # noqa: E402

PEER = """
import json, sys
import modelindex
for path in sys.argv[1:]:
    try:
        index = modelindex.load(path)
        index.check(silent=True)
        models = getattr(index, "models", index)
        errors = list(index.check_errors) + [e for m in models for e in m.check_errors]
        result = {"models": len(list(models)), "errors": [str(e) for e in errors]}
    except Exception as error:
        result = {"models": 0, "refused": f"{type(error).__name__}: {error}"[:80]}
    print(json.dumps({"path": path, **result}))
"""


def sources(path: Path) -> list[Any]:
    """The data of a document, as PyYAML reads them."""
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".md", ".mdx", ".markdown", ".txt"):
        return [yaml.safe_load(text)]
    file = SourceFile(path, path.name, text)
    return [yaml.safe_load(part) for part in model_index.texts_of(file)]


def peer(python: str | None, paths: list[Path]) -> dict[str, dict[str, Any]]:
    """What model-index says of each file."""
    if python is None:
        return {}
    ran = subprocess.run([python, "-c", PEER, *map(str, paths)], capture_output=True, text=True, check=False)
    results = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {item["path"]: item for item in results}


def main() -> None:
    """Print the table and its sums."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer")
    options = parser.parse_args()
    top: Path = options.folder.resolve()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as scratch:
        to = Path(scratch) / "zoo"
        start = time.perf_counter()
        planned = importer.plan([str(top)], to)
        importer.write_files(planned)
        read_seconds = time.perf_counter() - start
        imported = load_catalog([to])
        start = time.perf_counter()
        written = {item.document: item.text for item in exporter.export([], imported, "model-index")}
        write_seconds = time.perf_counter() - start
        start = time.perf_counter()
        checked = {item.name: item for item in lint.validate(imported, range(len(imported.cards)), imported.broken)}
        check_seconds = time.perf_counter() - start
        rows = table(top, imported, written, checked, options.peer)
    print(f"{'document':58} {'zoo':>5} {'equal':>6} {'wrong':>6} {'suspect':>8}   {'model-index':>11} says")
    for row in rows:
        print(
            f"{row['name'][-58:]:58} {row['models']:5d} {row['equal']:>6} {row['wrong']:6d} {row['suspect']:8d}   {row['theirs']:>11} {row['says']}"
        )
    total = {key: sum(row[key] for row in rows) for key in ("models", "wrong", "suspect")}
    unequal = sum(row["equal"] != "yes" for row in rows)
    theirs = sum(int(row["theirs"]) for row in rows if row["theirs"].isdigit())
    print(
        f"\n{len(rows)} documents, {total['models']} models, {unequal} not equal; {total['wrong']} wrong, {total['suspect']} suspect (no-convention apart); model-index reads {theirs}"
    )
    print(
        f"read and written {read_seconds:.2f} s, exported {write_seconds:.2f} s, validated {check_seconds:.2f} s, {len(planned.problems)} not read"
    )
    for problem in planned.problems[:20]:
        print(f"  {problem.place}: {problem.what}")
    print("\nwrong:")
    for item in checked.values():
        for finding in item.violations:
            if finding.status.value == "wrong":
                print(f"  {item.name}: {finding.check} {finding.key}: {finding.reason[:150]}")


def table(
    top: Path, imported: catalog.Catalog, written: dict[str, str], checked: dict[str, Any], python: str | None
) -> list[dict[str, Any]]:
    """A row a document."""
    members: dict[str, list[str]] = {}
    for card in imported.cards:
        for place in card.extra["imported"]:
            members.setdefault(place["document"], []).append(card.name)
    paths = {label: top.parent / label.partition("#")[0] for label in written}
    theirs = peer(python, list(paths.values()))
    rows = []
    for label, path in sorted(paths.items()):
        number = int(label.partition("#")[2] or 1) - 1
        verdicts = Counter(_verdict(checked[name]) for name in set(members.get(label, ())))
        result = theirs.get(str(path), {})
        rows.append(
            {
                "name": label,
                "models": len(members.get(label, ())),
                "equal": "yes" if equal(sources(path)[number], yaml.safe_load(written[label])) else "NO",
                "wrong": verdicts["wrong"],
                "suspect": verdicts["suspect"],
                "theirs": str(result["models"]) if result else "-",
                "says": result.get("refused") or (f"{len(result['errors'])} errors" if result else ""),
            }
        )
    return rows


def _verdict(checked: Any) -> str:
    statuses = {finding.status.value for finding in checked.violations if not finding.key.startswith("no-convention")}
    return "wrong" if "wrong" in statuses else "suspect" if "suspect" in statuses else "ok"


if __name__ == "__main__":
    main()
