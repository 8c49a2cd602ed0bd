"""Publish what was verified, and nothing else: to a folder or to the Hugging Face Hub."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.commands import cards_option, find

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("name")
@click.option("--to", "target", required=True, metavar="folder:PATH", help="Where to publish.")
@click.option("--dry-run", is_flag=True, help="Only show files, sizes, digests and what would change.")
@click.option("--report", "report_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Take this report, not the newest that `zoo verify` kept.")  # fmt: skip
@cards_option
def command(name: str, target: str, dry_run: bool, report_file: Path | None, cards_dirs: tuple[Path, ...]) -> None:
    """Publish what was verified, and nothing else."""
    from zoo import catalog, gate, publishing
    from zoo.readme import Address

    found = catalog.load(cards_dirs)
    card = find(found, name)
    admission = gate.admit(
        card,
        found,
        gate.report_from(report_file, card, found.collection_of(card)),
        now=datetime.now(timezone.utc),
        max_age=timedelta(days=gate.MAX_AGE_DAYS),
    )
    folder = Path(target.removeprefix("folder:"))
    proof = gate.prove(admission, publishing.measure(card))
    with tempfile.TemporaryDirectory() as temporary:
        source, weights = publishing.weights_of(proof, Path(temporary))
        there = publishing.text_at(folder / "README.md")
        release = publishing.compose(proof, source, weights, Address(), there)
        changes = publishing.plan(release, folder) if dry_run else publishing.write(release, folder)
        for change in changes:
            click.echo(f"{change.kind:8} {change.file.size_bytes:>10,}  {change.file.sha256}  {change.file.path}")
        if dry_run:
            click.echo(publishing.readme_difference(release, there), nl=False)
