"""Check cards without network and without torch: format, and whether what they say can be true."""

from __future__ import annotations

from pathlib import Path

import click

from zoo.commands import cards_option, choose, conclude, format_option


@click.command()
@click.argument("targets", nargs=-1, metavar="[PATH|NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@click.option("--strict", is_flag=True, help="Let suspicions count as errors.")
@cards_option
@format_option
def command(
    targets: tuple[str, ...], everything: bool, strict: bool, cards_dirs: tuple[Path, ...], format_name: str
) -> None:
    """Check cards without network and without torch: format, and whether what they say can be true.

    A PATH is a card's file or a folder of cards; it is checked together with the zoo's other cards.
    """
    from zoo import catalog, verifying
    from zoo.model import Settings

    paths = [
        Path(target)
        for target in targets
        if "/" in target or target.endswith((".yaml", ".yml")) or Path(target).exists()
    ]
    found = catalog.load(cards_dirs).with_files(paths)
    chosen = catalog.selected(found) if paths else []
    names = [target for target in targets if Path(target) not in paths]
    chosen += choose(found, names, everything) if names or everything or not paths else []
    verified = verifying.verify(chosen, found, Settings(), verifying.WITHOUT_FILES)
    conclude(verified, format_name, options={"command": "validate", "strict": strict})
