"""Add missing sizes and SHA-256 digests of weights files to cards."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.commands import all_option, cards_option, choose, failure_text, names_argument, print_error, print_line

if TYPE_CHECKING:
    from zoo.registry.card import Card
    from zoo.registry.catalog import Broken
    from zoo.registry.position import Pointer
    from zoo.weights.store import Artifact

FULL_DIGITS = 64


@click.command()
@names_argument
@all_option
@click.option("--offline", is_flag=True, help="Use only files that are on this machine.")
@cards_option
def command(names: tuple[str, ...], everything: bool, offline: bool, cards_dirs: tuple[Path, ...]) -> None:
    """Add missing sizes and SHA-256 digests of weights files to cards.

    zoo downloads the files that are not on this machine, and verifies them against what the card already says. It adds a
    missing size or digest and completes a shortened digest. It changes no other value; comments and layout are kept.
    """
    from zoo.registry.catalog import load_catalog

    codes = {_complete(card, offline=offline) for card in choose(load_catalog(cards_dirs), names, everything)}
    sys.exit(next(code for code in (1, 2, 3, 0) if code in {0, *codes}))


def additions(card: Card, artifacts: Mapping[int, Artifact]) -> dict[Pointer, Any]:
    """Return what to write to the card, by its place: the missing size and digest of each measured file."""
    changes: dict[Pointer, Any] = {}
    for number, artifact in artifacts.items():
        weights = card.weights[number]
        if weights.size_bytes is None:
            changes["weights", number, "size_bytes"] = artifact.size_bytes
        if weights.sha256 is None or len(weights.sha256) < FULL_DIGITS:
            changes["weights", number, "sha256"] = artifact.sha256
    return changes


def _complete(card: Card | Broken, *, offline: bool) -> int:
    """Complete one card, print the outcome, and return its exit code."""
    from zoo.errors import ZooError
    from zoo.registry.card import Card

    if not isinstance(card, Card):
        print_error(f"zoo: {card.problems[0].place}: {card.problems[0].what}")
        return 1
    try:
        print_line(_pin(card, offline=offline))
    except ZooError as error:
        print_error(failure_text(error, card.name))
        return error.exit_code
    return 0


def _pin(card: Card, *, offline: bool) -> str:
    """Measure the files with a missing value, write the values, and return a line about it. Raises as fetch and edit do."""
    from zoo.registry import edit
    from zoo.weights import store

    incomplete = {
        number: store.fetch(card, weights, offline=offline)
        for number, weights in enumerate(card.weights)
        if weights.size_bytes is None or len(weights.sha256 or "") < FULL_DIGITS
    }
    changes = additions(card, incomplete)
    if not changes:
        return f"{card.name}: already complete"
    document = card.where.document
    edit.save(document, edit.apply(document, changes))
    unchecked = [card.weights[number].file for number in incomplete if card.weights[number].sha256 is None]
    warning = f"; the card had no digest to verify {', '.join(unchecked)} against: check where it comes from"
    written = ", ".join(sorted({str(pointer[-1]) for pointer in changes}))
    return f"{card.name}: wrote {written} to {card.path}{warning if unchecked else ''}"
