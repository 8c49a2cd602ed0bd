"""Download weights, verify them, and print their paths."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from zoo.commands import (
    FiniteRange,
    all_option,
    cards_option,
    choose,
    counted,
    failure_text,
    names_argument,
    print_error,
    print_line,
    size_text,
)
from zoo.commands.cache import parse_size
from zoo.runtime.text import terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from zoo.registry.card import Card, Weights
    from zoo.registry.catalog import Broken
    from zoo.weights.store import Artifact, Fetched, Planned
    from zoo.weights.transfer.connections import DownloadProgress


@click.command()
@names_argument
@all_option
@click.option("--format", "format_name", type=click.Choice(["pickle", "safetensors", "all"]),
              help="Format of the files to download.  [default: the first file of a card]")  # fmt: skip
@click.option("--jobs", default=4, show_default=True, type=click.IntRange(1, 64),
              help="Number of files to download at a time.")  # fmt: skip
@click.option("--connections", default=8, show_default=True, type=click.IntRange(1, 64),
              help="Number of connections for a large file.")  # fmt: skip
@click.option("--stall", default=30.0, show_default=True, type=FiniteRange(0.1, 86_400), metavar="SECONDS",
              help="Retry after this time without data.")  # fmt: skip
@click.option("--max-size", default="20GB", show_default=True, callback=parse_size, metavar="SIZE",
              help="Refuse larger files when the card gives no size.")  # fmt: skip
@click.option("--offline", is_flag=True, help="Use only files on this machine; exit with 3 if one is missing.")
@click.option("--dry-run", is_flag=True, help="List the files, their sizes and which are missing; download nothing.")
@click.option("--signature", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="KEY",
              help="Fail unless the owner of this public key (PEM) signed the release on the Hub.")  # fmt: skip
@cards_option
def command(names: tuple[str, ...], everything: bool, format_name: str | None, jobs: int, connections: int, stall: float,
            max_size: int, offline: bool, dry_run: bool, signature: Path | None, cards_dirs: tuple[Path, ...]) -> None:  # fmt: skip
    """Download weights, verify them, and print their paths.

    zoo tries the addresses of a file in the card's order, and compares its size and SHA-256 with the card. It resumes an
    interrupted download.
    """
    from zoo.registry.catalog import load_catalog
    from zoo.weights import store
    from zoo.weights.transfer.policy import RetryPolicy

    cards = choose(load_catalog(cards_dirs), names, everything)
    selected = list(_select_weights(cards, format_name))
    code = 0 if everything else _report_missing(cards, selected)
    if dry_run:
        _print_plan(store.plan(selected), store.free_bytes())
        sys.exit(code)
    with _interrupt_on_sigterm(), _progress([weights.size_bytes for _, weights in selected]) as progress:
        downloads = store.fetch_all(selected, jobs=jobs, offline=offline, connections=connections,
                                    retry_policy=RetryPolicy(stall_seconds=stall, max_bytes=max_size), progress=progress)  # fmt: skip
        with closing(downloads) as fetched:  # an interruption ends the running downloads
            _print_results(_check_signatures(fetched, signature) if signature else fetched, progress.print_line, code)


def _check_signatures(fetched: Iterable[Fetched], key: Path) -> Iterator[Fetched]:
    """Yield the same results; a file without a signature of that key becomes an error."""
    from dataclasses import replace

    from zoo.errors import ZooError
    from zoo.publishing.signature_check import check_signature

    for result in fetched:
        try:
            if not isinstance(result.outcome, ZooError):
                check_signature(result.weights, result.outcome, key)
            yield result
        except ZooError as error:
            yield replace(result, outcome=error)


def _select_weights(cards: Iterable[Card | Broken], format_name: str | None) -> Iterator[tuple[Card, Weights]]:
    from zoo.registry.card import Card

    for card in cards:
        if isinstance(card, Card):
            matching = [weights for weights in card.weights if format_name in (None, "all", weights.format)]
            yield from ((card, weights) for weights in (matching if format_name == "all" else matching[:1]))
        else:
            problem = card.problems[0]
            print_error(f"{problem.place}: {problem.what}")


def _report_missing(cards: Sequence[Card | Broken], selected: Sequence[tuple[Card, Weights]]) -> int:
    """Print which models have no such file, and return the exit code."""
    from zoo.registry.catalog import Broken

    names = {card.name for card, _ in selected}
    for card in cards:
        if not isinstance(card, Broken) and card.name not in names:
            print_error(f"{card.name}: the card lists no such weights file")
    if any(isinstance(card, Broken) for card in cards):
        return 1
    return 0 if len(names) == len(cards) else 3


def _print_plan(planned: Sequence[Planned], free_bytes: int) -> None:
    """Print a line for each file: `here` or `download`, size, model, path or file name; then the total."""
    for item in planned:
        size = size_text(item.weights.size_bytes)
        print_line(
            f"{'here' if item.path else 'download':8}  {size:>9}  {item.card.name}  {item.path or item.weights.file}"
        )
    missing = [item.weights.size_bytes for item in planned if not item.path]
    unknown = f" and {missing.count(None)} of unknown size" if None in missing else ""
    total = size_text(sum(size for size in missing if size is not None))
    print_line(
        f"{counted(len(planned), 'file')}, {len(missing)} to download: {total}{unknown}; "
        f"{size_text(free_bytes)} free on the disk"
    )


def _print_results(fetched: Iterable[Fetched], print_message: Callable[[str], None], code: int) -> NoReturn:
    """Print each path or error as it comes, and exit: with 1 if a file is wrong, else with 3 if one is missing."""
    from zoo.errors import ZooError

    codes = {code}
    for result in fetched:
        if isinstance(result.outcome, ZooError):
            print_message(failure_text(result.outcome, result.card.name))
            codes.add(result.outcome.exit_code)
        else:
            print_message(f"{result.card.name}: {_describe(result.outcome)}")
            (print_message if sys.stdout.isatty() else print_line)(str(result.outcome.path))
    sys.exit(next(code for code in (1, 2, 3, 0) if code in codes))


def _describe(artifact: Artifact) -> str:
    return "; ".join((f"{artifact.file}, {size_text(artifact.size_bytes)}, from {artifact.origin}", *artifact.evidence))


@contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Make SIGTERM end a download as Ctrl-C does, so that it can be resumed."""

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    previous_handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


@contextmanager
def _progress(sizes: Sequence[int | None]) -> Iterator[_LineProgress | _BarProgress]:
    """Show a bar for each file and one for all files on a terminal; elsewhere print each reason for waiting once."""
    if not sys.stderr.isatty():
        yield _LineProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
               TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False))  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bars:
        yield _BarProgress(bars, sizes)


class _LineProgress:
    """Print the notes of downloads, each note once."""

    def __init__(self) -> None:
        self._printed_notes: set[tuple[str, str]] = set()

    def __call__(self, progress: DownloadProgress) -> None:
        key = (progress.model, progress.note)
        if progress.note and progress.done_bytes != progress.total_bytes and key not in self._printed_notes:
            self._printed_notes.add(key)
            self.print_line(f"{progress.model}: {progress.file}: {progress.note}")

    def print_line(self, line: str) -> None:
        """Print a line to stderr."""
        print_error(line)


class _BarProgress:
    """Show a bar for each running download, and one for all of them if there are several."""

    def __init__(self, bars: Bars, sizes: Sequence[int | None]) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._done_bytes: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        known = [size for size in sizes if size is not None]
        total = sum(known) if len(known) == len(sizes) else None
        self._all = bars.add_task(f"{len(sizes)} files", total=total, note="", visible=len(sizes) > 1)

    def __call__(self, progress: DownloadProgress) -> None:
        key = (progress.model, progress.file)
        with self._lock:
            self._done_bytes[key] = progress.done_bytes
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(terminal(progress.file), total=None, note="")
            is_under_way = progress.done_bytes != progress.total_bytes or bool(progress.note)
            self._bars.update(self._tasks[key], total=progress.total_bytes, completed=progress.done_bytes,
                              note=terminal(progress.note), visible=is_under_way)  # fmt: skip
            self._bars.update(self._all, completed=sum(self._done_bytes.values()))

    def print_line(self, line: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(terminal(line), markup=False, emoji=False, highlight=False, soft_wrap=True)
