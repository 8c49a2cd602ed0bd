"""Subject + split of a data set -> integer counts, exact and mergeable: how many images the model gets right.

Images are ranked in parts of a fixed size, in an order drawn with a seed, so that what is done at any moment is a random
sample. A part is kept as soon as it is ranked: a killed run loses the parts in flight, and no image is ranked twice for
the same question (weights, images, preprocessing, precision, kind of device, versions, code). Counts are of known
images, so parts add up to the whole wherever they were ranked, without padding and without rounding.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from zoo import plugins
from zoo.accuracy.datasets import Copy, DamagedImage, open_copy, output_indices
from zoo.accuracy.ranking import TOP, RankedImages, Ranker, prepare_model
from zoo.errors import CannotCheck
from zoo.models import facts
from zoo.models.build import count_accelerators, device_kind, make_transform
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import Dataset
from zoo.runtime import engines
from zoo.runtime.engines import Outcome
from zoo.runtime.environment import version_of, zoo_version
from zoo.runtime.storage import JsonFolder, state_folder

BATCH_SIZE = {"cpu": 16}
"""On a CPU, a batch that fits its cache, in channels_last, is twice as fast as the usual 64 in NCHW
(tests/bench/evaluate.py measures it)."""
ACCELERATOR_BATCH_SIZE = 256
"""timm's validate.py has the same default; it is halved when the memory does not hold it."""
PART_BATCHES = 8
LEAST_PART = 64
PARTS_OF_A_SPLIT = 8
"""A part has eight batches, yet at least 64 images and at most an eighth of what there is: small enough to lose, large
enough to be worth a file."""
LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy")
"""The distributions whose versions can change a rank: kernels, resizing, decoding."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of `images` have their label first (top1), and among the five highest outputs (top5)."""

    images: int = 0
    top1: int = 0
    top5: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.images + other.images, self.top1 + other.top1, self.top5 + other.top5)

    def of(self, top_k: int) -> int:
        """The count for top-1 or top-5."""
        return {1: self.top1, 5: self.top5}[top_k]


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """How far an evaluation is: `counts` of the `total` images it may need, `ranked` of them in this run in `seconds`."""

    model: str
    dataset: str
    split: str
    counts: Counts
    total: int
    split_images: int
    ranked: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The counts of a split or of a sample of it, and what they rest on as JSON values."""

    counts: Counts
    split_images: int
    evidence: Mapping[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether every image of the split was ranked."""
        return self.counts.images == self.split_images


Stop = Callable[[Counts], bool]
"""Whether an evaluation may end after these counts of the first images of its order."""


def measure(subject: Subject, dataset: Dataset, split: str, stop: Stop = lambda counts: False) -> Measured:
    """The counts of a split, or of as many of its images as the settings and `stop` ask for.

    Raises CannotCheck when the copy of the data is not what the dataset card says or an image is damaged, NotHere when
    there is no copy, WrongContent when the outputs are not finite or too few.
    """
    copy = open_sound_copy(subject, dataset, split)
    query = RankQuery(subject, copy)
    known = query.recall_whole()
    if known is not None:
        return known
    try:
        measured = _rank_all(query, stop)
    except DamagedImage as error:
        name = f"{dataset.name}/{split}"
        raise CannotCheck(f"needs data {name}, but {error.what}", hint=f"zoo data verify {dataset.name}") from error
    _refuse_wrong_copy(copy, digests=copy.is_hashed)
    return measured


def open_sound_copy(subject: Subject, dataset: Dataset, split: str) -> Copy:
    """This machine's copy of the split. Raises CannotCheck when it is known not to be what the dataset card says."""
    copy = open_copy(dataset, split, subject.settings.data)
    _refuse_wrong_copy(copy, digests=copy.is_hashed)
    return copy


def _refuse_wrong_copy(copy: Copy, *, digests: bool) -> None:
    problems = copy.problems() if digests else copy.layout_problems
    if problems:
        key = f"{copy.dataset.name}/{copy.split}"
        raise CannotCheck(f"needs data {key}, which is wrong", hint=problems[0].hint)


@dataclass(frozen=True)
class RankQuery:
    """What is asked: the ranks of a subject's outputs on a copy of a split. Knows where the answers are kept."""

    subject: Subject
    copy: Copy

    @cached_property
    def restriction(self) -> tuple[int, ...] | None:
        """Which outputs count; all when None."""
        return output_indices(self.copy.dataset, self.subject.catalog)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """All that changes the answer but libraries, code and images, as JSON values."""
        restriction = {} if self.restriction is None else {"outputs": list(self.restriction)}
        compiled = {"compiled": True} if self.subject.settings.evaluation.compile else {}
        weights = self.subject.card.preferred_weights
        return {
            "sha256": self.subject.artifact(weights).sha256,
            "renames": [[rename.pattern, rename.replacement] for rename in weights.rename],
            "preprocessing": self.subject.input.as_data(),
            "precision": self.subject.settings.evaluation.precision,
            "device": device_kind(self.subject.settings.device),
            "classes": list(self.copy.dataset.classes),
            **restriction,
            **compiled,
        }

    @property
    def reader(self) -> str:
        """The module that reads the images and labels, which can change a rank."""
        return facts.module_name(plugins.load("datasets", self.copy.dataset.kind))

    @property
    def versions(self) -> dict[str, Any]:
        """What can change a rank besides the inputs: versions of libraries and of zoo, and a digest of zoo's code."""
        builder = facts.module_name(plugins.load("builders", self.subject.builder.library))
        code = facts.code_sha256(__name__, self.reader, builder)
        return {"libraries": _libraries(), "zoo": zoo_version(), "code_sha256": code}

    @cached_property
    def pieces(self) -> JsonFolder:
        """Where the ranked parts are."""
        code = (__name__, self.reader)
        key = facts.architecture_key(
            "ranks", self.subject.builder, measured_by=code, versions=_libraries(), **self.inputs
        )
        return JsonFolder(state_folder("ranks", key[:2], key))

    def whole_key(self, manifest_sha256: str) -> str:
        """The key of the fact about the whole split, which outlives versions of libraries and of zoo."""
        builder = self.subject.builder
        return facts.fact_key(
            "accuracy",
            measured_by=(),
            libraries=(),
            library=builder.library,
            entry=builder.entry,
            options=dict(builder.options),
            manifest_sha256=manifest_sha256,
            **self.inputs,
        )

    def recall_whole(self) -> Measured | None:
        """What is known of the whole split, if it is not too old."""
        settings, claimed = self.subject.settings, self.copy.card.manifest_sha256
        if settings.refresh:
            self.pieces.clear()
            return None
        if not self.copy.is_hashed and claimed is not None and facts.recall(self.whole_key(claimed)):
            self.copy.hash_all()
            _refuse_wrong_copy(self.copy, digests=True)
        manifest = self.copy.manifest_sha256
        fact = facts.recall(self.whole_key(manifest)) if manifest else None
        if fact is None or _days_since(fact.evidence["measured"]) > (settings.evaluation.max_age_days or float("inf")):
            return None
        counts, differing = Counts(**fact.evidence["counts"]), _differing(fact.evidence, self.versions)
        reused = {"reused": differing} if differing else {}
        return Measured(counts, counts.images, {**fact.evidence, "manifest_sha256": manifest, **reused})

    def recall_ranks(self) -> dict[int, str]:
        """The ranks that are known, by the image's position."""
        known: dict[int, str] = {}
        for piece in self.pieces.read():
            indices = piece["indices"]
            if max(indices, default=0) < len(self.copy) and self.copy.lines_sha256(indices) == piece["lines_sha256"]:
                known.update(zip(indices, piece["ranks"], strict=True))
        return known

    def keep(self, ranked: RankedImages) -> None:
        """Keep a part, and the digests of its images."""
        for index, digest in zip(ranked.indices, ranked.digests, strict=True):
            self.copy.note_digest(index, digest)
        lines = self.copy.lines_sha256(ranked.indices)
        self.pieces.add({"indices": ranked.indices, "ranks": ranked.ranks, "lines_sha256": lines})
        self.copy.save()

    def keep_whole(self, counts: Counts, evidence: Mapping[str, Any]) -> None:
        """Keep the counts of the whole split in the place of its parts."""
        manifest = self.copy.manifest_sha256
        assert manifest is not None
        facts.keep(self.whole_key(manifest), Fact(counts.top1, {"counts": asdict(counts), **evidence}))
        self.pieces.clear()


def _rank_all(query: RankQuery, stop: Stop) -> Measured:
    """Rank what is not known, in the order of the seed, until the sample is whole or `stop` says so."""
    copy, evaluation = query.copy, query.subject.settings.evaluation
    order = random_order(len(copy), evaluation.seed)[: evaluation.limit]
    known = query.recall_ranks()
    size = part_size(len(order), batch_size(query.subject))
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    counts, started, ranked = Counts(), time.monotonic(), 0
    report_progress = query.subject.settings.on_progress or (lambda event: None)
    for part, newly_ranked in _ranked_parts(query, parts, known):
        ranked += len(newly_ranked)
        counts = counts + count_ranks(known[index] for index in part)
        report_progress(
            EvaluationProgress(
                query.subject.card.name, copy.dataset.name, copy.split, counts, len(order), len(copy), ranked,
                time.monotonic() - started,
            )
        )  # fmt: skip
        if counts.images < len(order) and stop(counts):
            break
    evidence = _evidence(query, counts)
    if counts.images == len(copy):
        query.keep_whole(counts, evidence)
    return Measured(counts, len(copy), evidence)


def _ranked_parts(
    query: RankQuery, parts: Sequence[Sequence[int]], known: dict[int, str]
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Each part in order, once the ranks of all its images are in `known`, and which of them were ranked for that."""
    pending = [[index for index in part if index not in known] for part in parts]
    results = rank_parts(query, [part for part in pending if part])
    try:
        for part, unknown in zip(parts, pending, strict=True):
            if unknown:
                ranked = next(results)
                known.update(zip(ranked.indices, ranked.ranks, strict=True))
            yield part, unknown
    finally:
        results.close()


def rank_parts(query: RankQuery, parts: Sequence[Sequence[int]]) -> Generator[RankedImages, None, None]:
    """The ranks of the parts in order, each kept as soon as it is done, here or by an engine's workers."""
    evaluation = query.subject.settings.evaluation
    jobs = min(evaluation.options.jobs, len(parts))
    if evaluation.engine == "local" and jobs <= 1:
        if parts:
            for ranked in make_ranker(query).rank(parts):
                query.keep(ranked)
                yield ranked
        return
    settings = query.subject.settings
    worker_settings = replace(
        settings, on_progress=None, evaluation=replace(evaluation, engine="local", options=engines.Options())
    )
    work = PartWork(
        replace(query.subject, settings=worker_settings, _artifacts={}), query.copy.dataset, query.copy.split
    )
    outcomes = plugins.load("engines", evaluation.engine).run(work, parts, evaluation.options)
    try:
        yield from (outcome.result() for outcome in engines.in_order(_keep_outcomes(query, outcomes)))
    finally:
        outcomes.close()


def _keep_outcomes(query: RankQuery, outcomes: Iterable[Outcome[RankedImages]]) -> Iterator[Outcome[RankedImages]]:
    for outcome in outcomes:
        if outcome.error is None:
            query.keep(outcome.result())
        yield outcome


@dataclass
class PartWork:
    """What a worker does: rank a part. The model, the copy and the threads are made once in each worker."""

    subject: Subject
    dataset: Dataset
    split: str

    def __call__(self, part: Sequence[int]) -> RankedImages:
        """The ranks of the images at these positions."""
        (ranked,) = self._ranker.rank([part])
        return ranked

    @cached_property
    def _ranker(self) -> Ranker:
        return make_ranker(RankQuery(self.subject, open_sound_copy(self.subject, self.dataset, self.split)))

    def __getstate__(self) -> dict[str, Any]:
        return {"subject": self.subject, "dataset": self.dataset, "split": self.split}


def make_ranker(query: RankQuery) -> Ranker:
    """What ranks the images of a query, its model loaded."""
    import torch

    evaluation, model = query.subject.settings.evaluation, prepare_model(query.subject.model)
    return Ranker(
        torch.compile(model) if evaluation.compile else model,
        query.copy.images,
        next(model.parameters()).device,
        make_transform(query.subject.input),
        batch_size(query.subject),
        query.restriction,
        evaluation.precision,
        evaluation.compile,
    )


def count_ranks(ranks: Iterable[str]) -> Counts:
    """The counts of images with these ranks."""
    text = "".join(ranks)
    return Counts(len(text), text.count("0"), len(text) - text.count(str(TOP)))


def random_order(images: int, seed: int) -> list[int]:
    """The order in which a split's images are ranked: a permutation drawn with the seed, the same everywhere.

    Sorting by Mersenne Twister's numbers, whose sequence Python guarantees (docs.python.org/3/library/random.html,
    "Notes on Reproducibility", seen 2026-11-24), unlike that of `shuffle`.
    """
    numbers = random.Random(seed)
    return [index for _, index in sorted((numbers.random(), index) for index in range(images))]


def part_size(images: int, batch: int) -> int:
    """How many images are ranked between two files: by the batch and the number of images only, not by who ranks."""
    return max(batch, min(max(LEAST_PART, PART_BATCHES * batch), -(-images // PARTS_OF_A_SPLIT)))


def batch_size(subject: Subject) -> int:
    """Images at a time: what was asked for, or what suits the kind of device."""
    kind = device_kind(subject.settings.device)
    return subject.settings.evaluation.batch_size or BATCH_SIZE.get(kind, ACCELERATOR_BATCH_SIZE)


def default_jobs(device: str) -> int:
    """How many workers an evaluation has if nobody says: one for each accelerator, one on a CPU."""
    return 1 if device != "auto" or device_kind(device) == "cpu" else max(1, count_accelerators())


def _evidence(query: RankQuery, counts: Counts) -> dict[str, Any]:
    evaluation = query.subject.settings.evaluation
    sample = {"seed": evaluation.seed} if counts.images < len(query.copy) else {}
    return {
        "device": query.inputs["device"],
        "precision": evaluation.precision,
        **({"compiled": True} if evaluation.compile else {}),
        **query.versions,
        "measured": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **_tf32(query.inputs["device"]),
        **sample,
        **({"manifest_sha256": query.copy.manifest_sha256} if query.copy.is_hashed else {}),
    }


def _libraries() -> dict[str, str | None]:
    return {name: version_of(name) for name in LIBRARIES}


def _differing(evidence: Mapping[str, Any], versions: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """Return what is different now than when an accuracy was measured: by name, the version then and the version now."""
    measured, now = ({**parts["libraries"], **parts} for parts in (evidence, versions))
    names = [name for name in (*LIBRARIES, "zoo", "code_sha256") if measured.get(name) != now.get(name)]
    return {name: {"measured": measured.get(name), "now": now.get(name)} for name in names}


def _tf32(kind: str) -> dict[str, bool]:
    """Whether CUDA may round 32-bit factors to TF32: in convolutions it does by default, which shows in accuracies."""
    if kind != "cuda":
        return {}
    import torch

    return {"tf32": bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)}


def _days_since(moment: str) -> float:
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds() / 86_400
