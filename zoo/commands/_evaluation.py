"""The options of the commands that evaluate models, and the progress of an evaluation on a terminal."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zoo import plugins
from zoo.commands import MAX_NUMBER, FiniteRange, parse_pairs
from zoo.runtime.text import terminal

if TYPE_CHECKING:
    from zoo.accuracy.evaluate import EvaluationProgress
    from zoo.models.subject import Settings

F = TypeVar("F", bound=Callable[..., Any])

PRECISIONS = ("fp32", "bf16", "fp16")
"""The names in `zoo.accuracy.ranking.DTYPES`, which `--help` does not import."""

fetch_option = click.option("--fetch", is_flag=True, help="Download weights that are not on this machine.")
data_option = click.option("--data", multiple=True, callback=parse_pairs, metavar="DATASET=PATH",
                           help="Path of this machine's copy of a data set (repeatable).")  # fmt: skip
device_option = click.option("--device", default="auto", show_default=True,
                             help="Device to compute on: auto, cpu, cuda:0 or mps.")  # fmt: skip
code_option = click.option("--allow-code", is_flag=True,
                           help="Run the Python code that a card names (builder: {library: python}).")  # fmt: skip

OPTIONS: dict[str, Callable[[Any], Any]] = {
    "fetch": fetch_option,
    "data": data_option,
    "device": device_option,
    "allow_code": code_option,
    "refresh": click.option("--refresh", is_flag=True, help="Measure again what an earlier run measured."),
    "max_age": click.option("--max-age", type=FiniteRange(0, min_open=True), metavar="DAYS",
                            help="Measure accuracies again that are older than this."),
    "limit": click.option("--limit", type=click.IntRange(1, MAX_NUMBER), metavar="IMAGES",
                          help="Evaluate a random sample of this many images."),
    "seed": click.option("--seed", default=0, show_default=True, type=click.IntRange(-MAX_NUMBER, MAX_NUMBER),
                         metavar="INTEGER", help="Seed of the random order of the images."),
    "early_stop": click.option("--early-stop", is_flag=True,
                               help="Stop an evaluation as soon as the claim is refuted."),
    "precision": click.option("--precision", default="fp32", show_default=True, type=click.Choice(PRECISIONS),
                              help="Precision of the computation."),
    "batch_size": click.option("--batch-size", type=click.IntRange(1, 65_536),
                               help="Images per batch.  [default: depends on the device]"),
    "compile": click.option("--compile", is_flag=True, help="Evaluate with torch.compile."),
    "jobs": click.option("--jobs", type=click.IntRange(1, 1024),
                         help="Number of workers, which share the models, or the images of a single model.  "
                              "[default: 1, or one for each accelerator]"),
    "engine": click.option("--engine", default="local", show_default=True, type=click.Choice(plugins.names("engines")),
                           help="Where the workers run."),
    "address": click.option("--address", help="Address of the cluster, for an engine that has one."),
}  # fmt: skip
"""By the name of the command's parameter."""


def settings_options(function: F) -> F:
    """Add the options above, and pass them to the command as one argument, `settings`."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        from zoo.verification.options import make_settings

        chosen = {name: values.pop(name) for name in OPTIONS}
        return function(settings=make_settings(max_age_days=chosen.pop("max_age"), **chosen), **values)

    for option in reversed(OPTIONS.values()):
        command = option(command)
    return command  # type: ignore[return-value]  # the same command but for its options


@contextmanager
def show_progress(settings: Settings) -> Iterator[Settings]:
    """Give the settings, with a line on stderr that shows the current evaluation where stderr is a terminal."""
    from dataclasses import replace

    if not sys.stderr.isatty():
        yield settings
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    description, text = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[text]}")
    columns = (description, BarColumn(), MofNCompleteColumn(), text)
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, text="")

        def report_progress(event: EvaluationProgress) -> None:
            bars.update(
                task,
                description=terminal(f"{event.model} {event.dataset}/{event.split}"),
                completed=event.counts.images,
                total=event.total,
                text=accuracy_text(event),
            )

        yield replace(settings, on_progress=report_progress)


def accuracy_text(event: EvaluationProgress) -> str:
    """Return the accuracy so far, its interval, and the speed of this run: `81.25 % (79.9 to 82.6), 43 images/s`."""
    from zoo.accuracy.intervals import DESCRIPTION_LEVEL, interval_of

    counts = event.counts
    interval = interval_of(counts.top1, counts.images, event.split_images, level=DESCRIPTION_LEVEL)
    text = f"{100 * counts.top1 / counts.images:.2f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
    return f"{text}, {event.ranked / event.seconds:,.0f} images/s" if event.ranked else text
