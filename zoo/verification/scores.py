"""Cards -> a table of accuracies with their intervals, on the data sets that they claim or on others: what `zoo eval` is.

A model whose weights are not what the card says is not evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from zoo import plugins
from zoo.accuracy.evaluate import Measured, measure
from zoo.accuracy.intervals import confidence_interval
from zoo.errors import UnknownName, UsageError, ZooError
from zoo.models.subject import Settings, Subject
from zoo.registry.card import METRICS, Card, Dataset
from zoo.registry.catalog import Catalog, Member
from zoo.runtime import engines, interrupts
from zoo.runtime.engines import WorkerDied
from zoo.verification import runner
from zoo.verification.report import Status


@dataclass(frozen=True, slots=True)
class Accuracy:
    """`correct` images as a percentage, the 95 % interval for other images like these, and what the card claims."""

    correct: int
    percent: float
    low: float
    high: float
    claimed: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How a model did on a split; `problem` says why there is no accuracy, `hint` what to do."""

    model: str
    dataset: str
    split: str
    images: int = 0
    split_images: int = 0
    top1: Accuracy | None = None
    top5: Accuracy | None = None
    problem: str = ""
    hint: str = ""


def scores_of(
    cards: Sequence[Card], catalog: Catalog, settings: Settings, on: Sequence[str] = ()
) -> Iterator[tuple[Score, ...]]:
    """Each model's scores, in the cards' order, on the splits named DATASET or DATASET/SPLIT, or on those it claims.

    Several models are shared out among the engine's workers, the images of a single one else.
    Raises UnknownName or UsageError for a data set or split that no dataset card describes.
    """
    work = partial(_scores_of, catalog, runner.worker_settings(settings), tuple(_split(catalog, name) for name in on))
    evaluation = settings.evaluation
    if len(cards) == 1 or (evaluation.engine == "local" and evaluation.options.jobs == 1):
        yield from (_scores_of(catalog, settings, work.args[2], card) for card in cards)
        return
    running = plugins.load("engines", evaluation.engine).run(work, cards, evaluation.options)
    for outcome in engines.in_order(running):
        if isinstance(outcome.error, WorkerDied):
            lost = outcome.error
            yield (Score(cards[outcome.position].name, "", "", problem=lost.what, hint=lost.hint),)
        else:
            yield outcome.result()


def _split(catalog: Catalog, name: str) -> tuple[Dataset, str]:
    dataset_name, _, split = name.partition("/")
    dataset = catalog.dataset(dataset_name)
    if dataset is None:
        raise UnknownName("data set", dataset_name, [item.name for item in catalog.datasets])
    split = split or (next(iter(dataset.splits)) if len(dataset.splits) == 1 else "validation")
    if split not in dataset.splits:
        raise UsageError(f"{dataset.name} has no split {split!r}", hint=f"it has {', '.join(dataset.splits)}")
    return dataset, split


def _scores_of(
    catalog: Catalog, settings: Settings, on: Sequence[tuple[Dataset, str]], card: Card
) -> tuple[Score, ...]:
    pairs = list(on) or _claimed(card, catalog)
    if not pairs:
        return (Score(card.name, "", "", problem="the card claims no accuracy that zoo can measure", hint="give --on"),)
    (gate,) = runner.verify([card], catalog, runner.worker_settings(settings), ("loading",))
    for finding in gate.findings:
        if finding.status is not Status.OK:
            reason = finding.reason or f"{finding.check} {finding.key} is {finding.status.value}"
            return tuple(Score(card.name, d.name, split, problem=reason, hint=finding.hint) for d, split in pairs)
    subject = Subject(Member(card, catalog), settings)
    return tuple(_score(subject, dataset, split) for dataset, split in pairs)


def _claimed(card: Card, catalog: Catalog) -> list[tuple[Dataset, str]]:
    pairs = {}
    for claim in card.results:
        dataset = catalog.dataset(claim.dataset)
        if dataset is not None and claim.metric in METRICS and claim.split in dataset.splits:
            pairs[dataset.name, claim.split] = (dataset, claim.split)
    return list(pairs.values())


def _score(subject: Subject, dataset: Dataset, split: str) -> Score:
    name = subject.card.name
    try:
        measured = measure(subject, dataset, split)
    except ZooError as error:
        interrupts.raise_if_interrupted()
        return Score(name, dataset.name, split, problem=error.what, hint=error.hint)
    top1, top5 = (_accuracy(subject.card, dataset, split, measured, k) for k in (1, 5))
    return Score(name, dataset.name, split, measured.counts.images, measured.split_images, top1, top5)


def _accuracy(card: Card, dataset: Dataset, split: str, measured: Measured, top_k: int) -> Accuracy:
    correct, images = measured.counts.of(top_k), measured.counts.images
    interval = confidence_interval(correct, images)
    claimed = next(
        (
            claim.value * (100 if claim.unit == "fraction" else 1)
            for claim in card.results
            if (claim.split, claim.metric) == (split, f"top{top_k}")
            and claim.dataset in (dataset.name, *dataset.aliases)
        ),
        None,
    )
    percent, low, high = (round(100 * share, 4) for share in (correct / images, interval.low, interval.high))
    return Accuracy(correct, percent, low, high, claimed)


def exit_code(scores: Iterable[Score]) -> int:
    """3 when a model could not be evaluated, else 0: `eval` says what is, and judges no claim."""
    return 3 if any(score.problem for score in scores) else 0


HEAD = ("model", "data", "images", "top1", "95 %", "claimed", "top5", "95 %", "claimed")


def render(scores: Sequence[Score], format_name: str) -> str:
    """The scores as `text` or `markdown` (a table), or `json`."""
    if format_name == "json":
        return json.dumps([asdict(score) for score in scores], indent=2) + "\n"
    lines = [HEAD, *(_cells(score) for score in scores)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    bar, end = ("| ", " |") if format_name == "markdown" else ("", "")
    rows = [
        bar + (" | " if bar else "  ").join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + end
        for line in lines
    ]
    if bar:
        rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    problems = [
        f"{score.model} {score.dataset}: {score.problem}; hint: {score.hint}" for score in scores if score.problem
    ]
    return "".join(f"{row.rstrip()}\n" for row in (*rows, *problems))


def _cells(score: Score) -> tuple[str, ...]:
    whole = f"{score.images:,}" + ("" if score.images == score.split_images else f" of {score.split_images:,}")
    data = f"{score.dataset}/{score.split}" if score.dataset else "-"
    return (score.model, data, whole, *_accuracy_cells(score.top1), *_accuracy_cells(score.top5))


def _accuracy_cells(accuracy: Accuracy | None) -> tuple[str, str, str]:
    if accuracy is None:
        return "-", "-", "-"
    claimed = "-" if accuracy.claimed is None else f"{accuracy.claimed:g}"
    return f"{accuracy.percent:.2f}", f"{accuracy.low:.2f} to {accuracy.high:.2f}", claimed
