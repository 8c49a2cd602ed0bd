"""Evaluate models on data sets and show a table of accuracies with their intervals: `zoo eval`.

A model whose weights are not as claimed is not evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from zoo import plugins
from zoo.accuracy.evaluate import Measured, measure
from zoo.accuracy.intervals import confidence_interval
from zoo.errors import CannotCheck, ZooError
from zoo.models.subject import KnownFiles, NotMeasured, Settings
from zoo.registry.card import Card, Dataset, SplitName
from zoo.registry.catalog import Catalog, Member
from zoo.registry.metrics import METRICS
from zoo.runtime import engines, interrupts, limits, sandbox
from zoo.runtime.engines import WorkerDied
from zoo.runtime.sandbox import Steps
from zoo.runtime.text import json_text, markdown, markdown_message, terminal
from zoo.verification import runner
from zoo.verification.answering import LARGE_RUN, Asker, CardAnswers, place_of


@dataclass(frozen=True, slots=True)
class Accuracy:
    """An accuracy in percent, with its 95 % interval for similar images, and the claim of the card.

    correct: the number of correctly classified images.
    """

    correct: int
    percent: float
    low: float
    high: float
    claimed: float | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The accuracies of a model on a split. `problem` says why there are none, `hint` what to do."""

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
    """Yield each model's scores, in the order of the cards, on the splits in `on` (DATASET or DATASET/SPLIT).

    Without `on`, the splits are those that a card claims results on. The engine's workers evaluate several models in
    parallel, or the images of a single model. Raises UnknownName or UsageError for an unknown data set or split.
    """
    pairs = tuple(_split(catalog, name) for name in on)
    evaluation = settings.evaluation
    if len(cards) > 1 and evaluation.engine != "local":
        work = partial(_scores_alone, catalog, runner.single_job(settings), pairs)
        tasks = [place_of(Member(card, catalog)) for card in cards]
        outcomes = plugins.load("engines", evaluation.engine).run(work, tasks, evaluation.options)
    else:
        jobs = 1 if len(cards) <= 1 else min(evaluation.options.jobs, len(cards))
        shared = settings if len(cards) <= 1 else runner.single_job(settings)
        askers = (Asker.of(Member(card, catalog), shared, jobs) for card in cards)
        context = CardAnswers(catalog, runner.without_events(shared))
        outcomes = sandbox.run((_scores_of(asker, pairs) for asker in askers), jobs=jobs, context=context)
    for outcome in engines.in_order(outcomes):
        if isinstance(outcome.error, WorkerDied):
            lost = outcome.error
            yield (Score(cards[outcome.position].name, "", "", problem=lost.what, hint=lost.hint),)
        else:
            yield outcome.result()


def _split(catalog: Catalog, name: str) -> tuple[Dataset, str]:
    named = SplitName.parse(name)
    dataset = catalog.find_dataset(named.dataset)
    split = named.split or (next(iter(dataset.splits)) if len(dataset.splits) == 1 else "validation")
    dataset.find_split(split)
    return dataset, split


def _scores_alone(
    catalog: Catalog, settings: Settings, on: Sequence[tuple[Dataset, str]], place: int | Card
) -> tuple[Score, ...]:
    """Return the scores of one model, measured by a worker of this machine, which may be one of a cluster."""
    card = catalog.cards[place] if isinstance(place, int) else place
    asker = Asker.of(Member(card, catalog), settings)
    return sandbox.result_of(_scores_of(asker, on), context=CardAnswers(catalog, runner.without_events(settings)))


def _scores_of(asker: Asker, on: Sequence[tuple[Dataset, str]]) -> Steps[tuple[Score, ...]]:
    card, pairs = asker.subject.card, list(on) or _claimed(asker.subject.member)
    if not pairs:
        what = "the card claims no accuracy that zoo can measure"
        return (Score(card.name, "", "", problem=what, hint="add --on DATASET"),)
    try:
        yield from runner.require_right_weights(asker)
    except CannotCheck as error:
        return tuple(Score(card.name, d.name, split, problem=error.what, hint=error.hint) for d, split in pairs)
    scores = []
    for dataset, split in pairs:
        scores.append((yield from _score(asker, dataset, split)))
    return tuple(scores)


def _claimed(member: Member) -> list[tuple[Dataset, str]]:
    pairs = {}
    for claim in member.card.results:
        dataset = member.catalog.dataset(claim.dataset)
        if dataset is not None and claim.metric in METRICS and claim.split in dataset.splits:
            pairs[dataset.name, claim.split] = (dataset, claim.split)
    return list(pairs.values())


def _score(asker: Asker, dataset: Dataset, split: str) -> Steps[Score]:
    card = asker.subject.card
    try:
        try:
            measured = measure(asker.subject, dataset, split)
        except NotMeasured:
            hinted = limits.for_evaluation(asker.jobs, hint=LARGE_RUN)
            outcome = yield asker.ask(_measure_in_worker, dataset.name, split, limits=hinted)
            measured = outcome.result()
    except ZooError as error:
        interrupts.raise_if_interrupted()
        return Score(card.name, dataset.name, split, problem=error.what, hint=error.hint)
    top1, top5 = (_accuracy(card, dataset, split, measured, k) for k in (1, 5))
    return Score(card.name, dataset.name, split, measured.counts.images, measured.split_images, top1, top5)


def _measure_in_worker(
    answers: CardAnswers, place: int | Card, known: KnownFiles, dataset: str, split: str
) -> Measured:
    return measure(answers.subject(place, known), answers.catalog.find_dataset(dataset), split)


def _accuracy(card: Card, dataset: Dataset, split: str, measured: Measured, top_k: int) -> Accuracy:
    correct, images = measured.counts.of(top_k), measured.counts.images
    interval = confidence_interval(correct, images)
    claimed = next(
        (
            claim.percent
            for claim in card.results
            if (claim.split, claim.metric) == (split, f"top{top_k}")
            and claim.dataset in (dataset.name, *dataset.aliases)
        ),
        None,
    )
    percent, low, high = (round(100 * share, 4) for share in (correct / images, interval.low, interval.high))
    return Accuracy(correct, percent, low, high, claimed)


def exit_code(scores: Iterable[Score]) -> int:
    """Return 3 when a model could not be evaluated, else 0. `zoo eval` does not judge claims."""
    return 3 if any(score.problem for score in scores) else 0


HEAD = ("model", "data", "images", "top1", "95 %", "claimed", "top5", "95 %", "claimed")


def render(scores: Sequence[Score], format_name: str) -> str:
    """Return the scores as a table in `text` or `markdown`, or as `json`."""
    if format_name == "json":
        return json_text(json.dumps([asdict(score) for score in scores], indent=2)) + "\n"
    safe: Callable[[str], str] = markdown_message if format_name == "markdown" else terminal
    lines = [HEAD, *(tuple(map(safe, _cells(score))) for score in scores)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    bar, end = ("| ", " |") if format_name == "markdown" else ("", "")
    rows = [
        bar + (" | " if bar else "  ").join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + end
        for line in lines
    ]
    if bar:
        rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    start: Callable[[str], str] = markdown if format_name == "markdown" else terminal
    problems = [
        f"{start(score.model)} {safe(f'{score.dataset}: {score.problem}; hint: {score.hint}')}"
        for score in scores
        if score.problem
    ]
    return "".join(f"{row.rstrip()}\n" for row in (*rows, *problems))


def _cells(score: Score) -> tuple[str, ...]:
    whole = f"{score.images:,}" + ("" if score.images == score.split_images else f" of {score.split_images:,}")
    data = str(SplitName(score.dataset, score.split)) if score.dataset else "-"
    return (score.model, data, whole, *_accuracy_cells(score.top1), *_accuracy_cells(score.top5))


def _accuracy_cells(accuracy: Accuracy | None) -> tuple[str, str, str]:
    if accuracy is None:
        return "-", "-", "-"
    claimed = "-" if accuracy.claimed is None else f"{accuracy.claimed:g}"
    return f"{accuracy.percent:.2f}", f"{accuracy.low:.2f} to {accuracy.high:.2f}", claimed
