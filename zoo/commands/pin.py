"""Complete the size and all 64 digits of the sha256 in cards, from the files; comments and layout stay."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.commands import cards_option, choose, names_argument

if TYPE_CHECKING:
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken
    from zoo.registry.position import Pointer
    from zoo.weights.store import Artifact

FULL_DIGITS = 64


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@click.option("--offline", is_flag=True, help="Only with files that are on this machine.")
@cards_option
def command(names: tuple[str, ...], everything: bool, offline: bool, cards_dirs: tuple[Path, ...]) -> None:
    """Complete the size and all 64 digits of the sha256 in cards, from the files; comments and layout stay.

    Files that are not here are downloaded. What a card says already is checked and never changed: only what it leaves
    out is added, and a digest of which it has the first digits is completed.
    """
    from zoo.registry.catalog import load_catalog

    codes = {_complete(card, offline=offline) for card in choose(load_catalog(cards_dirs), names, everything)}
    sys.exit(next(code for code in (1, 2, 3, 0) if code in {0, *codes}))


def additions(card: Card, artifacts: Mapping[int, Artifact]) -> dict[Pointer, Any]:
    """What is to be written into the card, by place: for each of its files that was measured, what the card leaves out."""
    changes: dict[Pointer, Any] = {}
    for number, artifact in artifacts.items():
        weights = card.weights[number]
        if weights.size_bytes is None:
            changes["weights", number, "size_bytes"] = artifact.size_bytes
        if weights.sha256 is None or len(weights.sha256) < FULL_DIGITS:
            changes["weights", number, "sha256"] = artifact.sha256
    return changes


def _complete(card: Card | Broken, *, offline: bool) -> int:
    """Complete one card and say what came of it; the exit code of that."""
    from zoo.errors import ZooError
    from zoo.registry.card import Card

    if not isinstance(card, Card):
        click.echo(f"zoo: {card.problems[0].place}: {card.problems[0].what}", err=True)
        return 1
    try:
        click.echo(_pin(card, offline=offline))
    except ZooError as error:
        click.echo(f"zoo: {card.name}: {error}", err=True)
        return error.exit_code
    return 0


def _pin(card: Card, *, offline: bool) -> str:
    """Measure what is not complete, write it, and say so in one line. Raises what fetch and edit raise."""
    from zoo.registry import edit
    from zoo.weights import store

    incomplete = {
        number: store.fetch(card, weights, offline=offline)
        for number, weights in enumerate(card.weights)
        if weights.size_bytes is None or len(weights.sha256 or "") < FULL_DIGITS
    }
    changes = additions(card, incomplete)
    if not changes:
        return f"{card.name}: complete already"
    document = card.where.document
    edit.save(document, edit.apply(document, changes))
    unchecked = [card.weights[number].file for number in incomplete if card.weights[number].sha256 is None]
    warning = f"; nothing was known to check {', '.join(unchecked)} against: look at it before you trust it"
    written = ", ".join(sorted({str(pointer[-1]) for pointer in changes}))
    return f"{card.name}: wrote {written} into {card.path}{warning if unchecked else ''}"
