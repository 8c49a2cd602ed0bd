"""Get weights onto this machine: resumed, verified, from the first mirror that has them; prints the paths."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from zoo.commands import cards_option, choose, names_argument, size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from zoo.registry.card import Card, Weights
    from zoo.registry.catalog import Broken
    from zoo.weights.store import Artifact, Fetched, Planned
    from zoo.weights.transfer.connections import DownloadProgress


@click.command()
@names_argument
@click.option("--all", "everything", is_flag=True, help="Every card of the zoo.")
@click.option("--format", "format_name", type=click.Choice(["pickle", "safetensors", "all"]),
              help="Which of a card's files, instead of the first.")  # fmt: skip
@click.option("--jobs", default=4, show_default=True, type=click.IntRange(1, 64), help="Files at a time.")
@click.option(
    "--connections", default=8, show_default=True, type=click.IntRange(1, 64), help="Connections for a large file."
)
@click.option("--stall", default=30.0, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS",
              help="Ask again after so long without a byte.")  # fmt: skip
@click.option("--offline", is_flag=True, help="Open no connection; exit 3 when something is not here.")
@click.option("--dry-run", is_flag=True, help="Only list the files, their sizes, and what is here already.")
@click.option("--signature", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="KEY",
              help="Fail unless the release on the Hub is signed by this public key (PEM).")  # fmt: skip
@cards_option
def command(names: tuple[str, ...], everything: bool, format_name: str | None, jobs: int, connections: int, stall: float,
            offline: bool, dry_run: bool, signature: Path | None, cards_dirs: tuple[Path, ...]) -> None:  # fmt: skip
    """Get weights onto this machine: resumed, verified, from the first mirror that has them; prints the paths.

    Of each card the first file, unless --format says otherwise. An interrupted download goes on where it was.
    """
    from zoo.registry.catalog import load_catalog
    from zoo.weights import store
    from zoo.weights.transfer.policy import RetryPolicy

    chosen = choose(load_catalog(cards_dirs), names, everything)
    wanted = list(_wanted(chosen, format_name))
    code = 0 if everything else _tell_missing(chosen, wanted)
    if dry_run:
        _print_plan(store.plan(wanted), store.free_bytes())
        sys.exit(code)
    with _stopped_by_sigterm(), _progress([weights.size_bytes for _, weights in wanted]) as tell:
        files = store.fetch_all(wanted, jobs=jobs, offline=offline, connections=connections,
                                patience=RetryPolicy(stall_seconds=stall), progress=tell)  # fmt: skip
        with closing(files) as fetched:  # so that an interruption ends what is under way
            _report(_signed(fetched, signature) if signature else fetched, tell.say, code)


def _signed(fetched: Iterable[Fetched], key: Path) -> Iterator[Fetched]:
    """The same; a file that is not signed by that key is a failure, as one that could not be got."""
    from dataclasses import replace

    from zoo.errors import ZooError
    from zoo.publishing import hub

    for one in fetched:
        try:
            if not isinstance(one.outcome, ZooError):
                hub.check_signature(one.weights, one.outcome, key)
            yield one
        except ZooError as error:
            yield replace(one, outcome=error)


def _wanted(chosen: Iterable[Card | Broken], format_name: str | None) -> Iterator[tuple[Card, Weights]]:
    from zoo.registry.card import Card

    for card in chosen:
        if isinstance(card, Card):
            fitting = [weights for weights in card.weights if format_name in (None, "all", weights.format)]
            yield from ((card, weights) for weights in (fitting if format_name == "all" else fitting[:1]))
        else:
            problem = card.problems[0]
            click.echo(f"{problem.place}: {problem.what}", err=True)


def _tell_missing(chosen: Sequence[Card | Broken], wanted: Sequence[tuple[Card, Weights]]) -> int:
    """Says which of the models have no such file; the exit code of that."""
    from zoo.registry.catalog import Broken

    have = {card.name for card, _ in wanted}
    for card in chosen:
        if not isinstance(card, Broken) and card.name not in have:
            click.echo(f"{card.name}: the card has no such weights file", err=True)
    if any(isinstance(card, Broken) for card in chosen):
        return 1
    return 0 if len(have) == len(chosen) else 3


def _print_plan(planned: Sequence[Planned], free_bytes: int) -> None:
    """One line a file: what would be done, size, model, file or path."""
    for item in planned:
        size = size_text(item.weights.size_bytes)
        click.echo(
            f"{'here' if item.path else 'download':8}  {size:>9}  {item.card.name}  {item.path or item.weights.file}"
        )
    missing = [item.weights.size_bytes for item in planned if not item.path]
    unknown = f" and {missing.count(None)} of unknown size" if None in missing else ""
    total = size_text(sum(size for size in missing if size is not None))
    click.echo(
        f"{len(planned)} files, {len(missing)} to download: {total}{unknown}; {size_text(free_bytes)} free on the disk"
    )


def _report(fetched: Iterable[Fetched], say: Callable[[str], None], code: int) -> NoReturn:
    """Print each path or error as it comes, and exit: 1 when something is wrong, else 3 when something is not here."""
    from zoo.errors import ZooError

    codes = {code}
    for one in fetched:
        if isinstance(one.outcome, ZooError):
            say(f"zoo: {one.card.name}: {one.outcome}")
            codes.add(one.outcome.exit_code)
        else:
            say(f"{one.card.name}: {_told(one.outcome)}")
            (say if sys.stdout.isatty() else click.echo)(str(one.outcome.path))
    sys.exit(next(code for code in (1, 2, 3, 0) if code in codes))


def _told(artifact: Artifact) -> str:
    return "; ".join((f"{artifact.file}, {size_text(artifact.size_bytes)}, from {artifact.origin}", *artifact.evidence))


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Makes SIGTERM end a transfer as Ctrl-C does: what is done is kept."""

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(sizes: Sequence[int | None]) -> Iterator[_Notes | _Drawn]:
    """Bars for each file and for all together on a terminal; elsewhere only what is waited for, each thing once."""
    if not sys.stderr.isatty():
        yield _Notes()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[note]}"))  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bars:
        yield _Drawn(bars, sizes)


class _Notes:
    """Prints lines, each note once."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    def __call__(self, progress: DownloadProgress) -> None:
        key = (progress.model, progress.note)
        if progress.note and progress.done_bytes != progress.total_bytes and key not in self._told:
            self._told.add(key)
            self.say(f"{progress.model}: {progress.file}: {progress.note}")

    def say(self, line: str) -> None:
        """Print a line to stderr."""
        click.echo(line, err=True)


class _Drawn:
    """Keeps a bar for each file that is under way, and one for all of them when there are several."""

    def __init__(self, bars: Bars, sizes: Sequence[int | None]) -> None:
        self._bars = bars
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._done: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        known = [size for size in sizes if size is not None]
        total = sum(known) if len(known) == len(sizes) else None
        self._all = bars.add_task(f"{len(sizes)} files", total=total, note="", visible=len(sizes) > 1)

    def __call__(self, progress: DownloadProgress) -> None:
        key = (progress.model, progress.file)
        with self._lock:
            self._done[key] = progress.done_bytes
            if key not in self._tasks:
                self._tasks[key] = self._bars.add_task(progress.file, total=None, note="")
            is_under_way = progress.done_bytes != progress.total_bytes or bool(progress.note)
            self._bars.update(self._tasks[key], total=progress.total_bytes, completed=progress.done_bytes,
                              note=progress.note, visible=is_under_way)  # fmt: skip
            self._bars.update(self._all, completed=sum(self._done.values()))

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
