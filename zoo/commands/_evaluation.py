"""The options of commands that evaluate models, and the line that shows how far an evaluation is."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from zoo import plugins
from zoo.commands import parse_pairs

if TYPE_CHECKING:
    from zoo.accuracy.evaluate import EvaluationProgress
    from zoo.models.subject import Settings

F = TypeVar("F", bound=Callable[..., Any])

PRECISIONS = ("fp32", "bf16", "fp16")

OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--fetch", is_flag=True, help="Download weights that are not on this machine."),
    click.option("--data", multiple=True, callback=parse_pairs, metavar="DATASET=PATH",
                 help="Where this machine's copy of a data set is."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda:0 or mps."),
    click.option("--allow-code", is_flag=True, help="Run the factories that cards name (builder: {library: python})."),
    click.option("--refresh", is_flag=True, help="Measure again what is known already."),
    click.option("--max-age", type=click.FloatRange(0, min_open=True), metavar="DAYS",
                 help="Measure accuracies again that are known for longer."),
    click.option("--limit", type=click.IntRange(1), metavar="IMAGES",
                 help="Evaluate a sample of so many images, drawn with --seed."),
    click.option("--seed", default=0, show_default=True, help="What the images' order is drawn with."),
    click.option("--early-stop", is_flag=True, help="End an evaluation as soon as its claim is refuted."),
    click.option("--precision", default="fp32", show_default=True, type=click.Choice(PRECISIONS), help="Of computation."),
    click.option("--batch-size", type=click.IntRange(1), help="Images at a time.  [default: what suits the device]"),
    click.option("--compile", is_flag=True, help="Evaluate through torch.compile."),
    click.option("--jobs", type=click.IntRange(1, 1024),
                 help="Workers: each has models of several, or images of one.  [default: one, or one for each accelerator]"),
    click.option("--engine", default="local", show_default=True, type=click.Choice(plugins.names("engines")),
                 help="Where workers run."),
    click.option("--address", help="The cluster's address, for an engine that has one."),
)  # fmt: skip


def settings_options(function: F) -> F:
    """The options above, given to the command as one `settings`."""

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        evaluation_values = {option: values.pop(option) for option in _NAMES}
        return function(settings=_settings(**evaluation_values), **values)

    for option in reversed(OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]  # the same command but for its options


_NAMES = ("fetch", "data", "device", "allow_code", "refresh", "max_age", "limit", "seed", "early_stop", "precision",
          "batch_size", "compile", "jobs", "engine", "address")  # fmt: skip


def _settings(
    *, fetch: bool, data: dict[str, str], device: str, refresh: bool, max_age: float | None, jobs: int | None,
    engine: str, address: str | None, allow_code: bool, **evaluation_options: Any,
) -> Settings:  # fmt: skip
    from zoo.accuracy.evaluate import default_jobs
    from zoo.models.subject import Evaluation, Settings
    from zoo.runtime.engines import Options

    options = Options(jobs or default_jobs(device), address)
    evaluation = Evaluation(max_age_days=max_age, engine=engine, options=options, **evaluation_options)
    return Settings(fetch, device, {name: Path(path) for name, path in data.items()}, refresh, evaluation, allow_code)


def report_options(settings: Settings) -> dict[str, Any]:
    """What a report says of the settings: those that change what is found."""
    evaluation = settings.evaluation
    sample = {"limit": evaluation.limit, "seed": evaluation.seed} if evaluation.limit else {}
    stop = {"early_stop": True, "seed": evaluation.seed} if evaluation.early_stop else {}
    code = {"allow_code": True} if settings.allow_code else {}
    return {
        "fetch": settings.fetch,
        "device": settings.device,
        "precision": evaluation.precision,
        **sample,
        **stop,
        **code,
    }


@contextmanager
def show_progress(settings: Settings) -> Iterator[Settings]:
    """The settings with a line on stderr that shows each evaluation, where stderr is a terminal."""
    from dataclasses import replace

    if not sys.stderr.isatty():
        yield settings
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None, text="")

        def report_progress(event: EvaluationProgress) -> None:
            description = f"{event.model} {event.dataset}/{event.split}"
            bars.update(
                task,
                description=description,
                completed=event.counts.images,
                total=event.total,
                text=accuracy_text(event),
            )

        yield replace(settings, on_progress=report_progress)


def accuracy_text(event: EvaluationProgress) -> str:
    """`81.25 % (79.9 to 82.6), 43 images/s`: the running accuracy, its interval, and the speed of this run."""
    from zoo.accuracy.intervals import DESCRIPTION_LEVEL, interval_of

    counts = event.counts
    interval = interval_of(counts.top1, counts.images, event.split_images, level=DESCRIPTION_LEVEL)
    text = f"{100 * counts.top1 / counts.images:.2f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
    return f"{text}, {event.ranked / event.seconds:,.0f} images/s" if event.ranked else text
