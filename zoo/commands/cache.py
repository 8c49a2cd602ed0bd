"""List, verify and remove the files that zoo keeps on this machine."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from zoo.commands import counted, print_error, print_line, size_text

if TYPE_CHECKING:
    from zoo.weights.cache import CachedFile, Interrupted

_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SIZES = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}


def parse_age(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """Return `30d`, `12h` or `2w` in seconds; the callback of an option."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)([smhdw])", text or "")
    if text is not None and match is None:
        raise click.BadParameter(f"{text!r} is not an age; write 30d, 12h or 2w")
    return float(match[1]) * _AGES[match[2]] if match else None


def parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Return `500MB`, `20GB` or `1GiB` in bytes; the callback of an option."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,12})?) ?([kmgt]?i?)b?", (text or "").lower())
    if text is not None and (match is None or match[2] not in _SIZES):
        raise click.BadParameter(f"{text!r} is not a size; write 500MB, 20GB or 1GiB")
    return int(float(match[1]) * _SIZES[match[2]]) if match else None


@click.group()
def command() -> None:
    """List, verify and remove the files that zoo keeps on this machine."""


@command.command("path")
def path_command() -> None:
    """Print the folder of the files. ZOO_HOME changes it."""
    from zoo.runtime.storage import home

    print_line(str(home()))


@command.command("list")
@click.option("--partial", is_flag=True, help="List incomplete downloads, and whether a process is downloading them.")
def list_command(partial: bool) -> None:
    """List files by digest, size, days since last use, and origin."""
    from zoo.weights import cache

    if partial:
        _print_interrupted(cache.interrupted())
        return
    blobs = cache.blobs()
    for entry in blobs:
        days = (time.time() - entry.used) / cache.DAY_SECONDS
        print_line(
            f"{entry.sha256[:12]}  {size_text(entry.size_bytes):>9}  {days:4.0f} d  {entry.path.name}  {entry.origin}"
        )
    print_error(_sum(blobs))


@command.command("verify")
@click.option(
    "--jobs", default=2, show_default=True, type=click.IntRange(1, 64), help="Number of files read at a time."
)
def verify_command(jobs: int) -> None:
    """Read all files and compare their digests.

    A changed file is quarantined, and the exit code is 1; it is 3 when a file cannot be read.
    """
    from zoo.weights import cache

    codes = {0}
    for checked in cache.verify(cache.blobs(), jobs=jobs):
        codes.add(1 if checked.quarantined else 3 if checked.problem else 0)
        state = f"WRONG, has {checked.sha256}, quarantined as {checked.quarantined}" if checked.quarantined else "ok"
        print_line(f"{checked.entry.sha256[:12]}  {checked.entry.path.name}  {checked.problem or state}")
    sys.exit(1 if 1 in codes else max(codes))


@command.command("prune")
@click.option(
    "--older-than", callback=parse_age, metavar="AGE", help="Remove files not used for this time: 30d, 12h, 2w."
)
@click.option(
    "--max-size", callback=parse_size, metavar="SIZE", help="Remove the least recently used until the rest fits: 20GB."
)
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
def prune_command(older_than: float | None, max_size: int | None, dry_run: bool) -> None:
    """Remove files to free space.

    Without options, it removes incomplete downloads and quarantined files that are older than a week, and the files that
    zoo 0.1 left.
    """
    from zoo.weights import cache

    removable = cache.removable(cache.blobs(), cache.rest(), now=time.time(),
                                older_than_seconds=older_than, max_bytes=max_size)  # fmt: skip
    removable = (*removable, *cache.of_earlier_version())
    for entry in removable:
        if not dry_run:
            cache.remove(entry)
        print_line(str(entry.path))
    print_error(f"{'would remove' if dry_run else 'removed'} {_sum(removable)}")


def _print_interrupted(downloads: Sequence[Interrupted]) -> None:
    for download in downloads:
        progress = f"{size_text(download.done_bytes)} of {size_text(download.size_bytes)}"
        state = "active" if download.state == "live" else "interrupted"
        print_line(f"{progress:>22}  {state}  {download.file}  {download.url}")


def _sum(entries: Sequence[CachedFile]) -> str:
    files = counted(sum(entry.files for entry in entries), "file")
    return f"{files}, {size_text(sum(entry.size_bytes for entry in entries))}"
