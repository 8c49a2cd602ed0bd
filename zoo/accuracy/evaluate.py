"""Evaluate a model on a split of a data set: count how many images it classifies correctly.

Images are ranked in parts of a fixed size, in a random order that a seed fixes, so that the images ranked at any moment are
a random sample. Each part is saved as soon as it is ranked. A killed run loses only the parts in progress, and no image is
ranked twice with the same weights, preprocessing, precision, kind of device, versions and code. Counts are integers of
known images, so that parts add up exactly, wherever they were ranked.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cached_property, partial
from typing import Any

from zoo import plugins
from zoo.accuracy.datasets import Copy, DamagedImage, open_copy, output_indices
from zoo.accuracy.ranking import RANKS, TOP, RankedImages, Ranker, prepare_model
from zoo.errors import CannotCheck, WrongContent
from zoo.models import facts
from zoo.models.build import count_accelerators, device_kind, make_transform
from zoo.models.facts import Fact
from zoo.models.subject import Subject
from zoo.registry.card import Dataset
from zoo.runtime import engines
from zoo.runtime.engines import Outcome
from zoo.runtime.environment import version_of, zoo_version
from zoo.runtime.json_form import has_form, is_count, is_sha256, is_text, mapping_of, object_with, one_of
from zoo.runtime.storage import JsonFolder, state_folder

BATCH_SIZE = {"cpu": 16}
"""On a CPU, a batch that fits into its cache, in channels_last, is twice as fast as the common 64 in NCHW
(measured by tests/bench/evaluate.py)."""
ACCELERATOR_BATCH_SIZE = 256
"""The default of timm's validate.py; a batch that does not fit into memory is halved."""
PART_BATCHES = 8
MIN_PART = 64
PARTS_OF_A_SPLIT = 8
"""A part has eight batches, but at least 64 images and at most an eighth of the sample: a lost part costs little time, and
there are few files."""
MAX_CLOCK_DAYS = 1
"""How far in the future a cached accuracy may lie: clocks differ between machines that share a ZOO_HOME."""
LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy")
"""The distributions whose versions can change a rank, by other kernels, resizing or decoding."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of `images` have their label first among the outputs (top1), and among the five highest (top5)."""

    images: int = 0
    top1: int = 0
    top5: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.images + other.images, self.top1 + other.top1, self.top5 + other.top5)

    def of(self, top_k: int) -> int:
        """Return the count for top-1 or top-5."""
        return {1: self.top1, 5: self.top5}[top_k]


@dataclass(frozen=True, slots=True)
class EvaluationProgress:
    """The progress of an evaluation: `counts` so far, of at most `total` images; this run has ranked `ranked` in `seconds`."""

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
    """The counts of a split or of a sample of it, and the evidence for them as JSON values."""

    counts: Counts
    split_images: int
    evidence: Mapping[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether every image of the split was ranked."""
        return self.counts.images == self.split_images


Stop = Callable[[Counts], bool]
"""A function that says whether an evaluation may stop after these counts of the first images of its order."""


def measure(subject: Subject, dataset: Dataset, split: str, stop: Stop = lambda counts: False) -> Measured:
    """Count the correct images of a split, or of as many of its images as the settings and `stop` require.

    Raises CannotCheck when the copy of the data differs from the dataset card or an image is damaged, NotHere when there is
    no copy, WrongContent when outputs are not finite or fewer than the classes.
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
        what = f"the copy of {name} is damaged: {error.what}"
        raise CannotCheck(what, where=error.where, hint=f"zoo data verify {dataset.name}") from error
    _refuse_wrong_copy(copy, digests=copy.is_hashed)
    return measured


def open_sound_copy(subject: Subject, dataset: Dataset, split: str) -> Copy:
    """Open this machine's copy of the split. Raises CannotCheck when it is known to differ from the dataset card."""
    copy = open_copy(dataset, split, subject.settings.data)
    _refuse_wrong_copy(copy, digests=copy.is_hashed)
    return copy


def _refuse_wrong_copy(copy: Copy, *, digests: bool) -> None:
    problems = copy.problems() if digests else copy.layout_problems
    if problems:
        name = f"{copy.dataset.name}/{copy.split}"
        raise CannotCheck(f"the copy of {name} is wrong: {problems[0].what}", hint=problems[0].hint)


@dataclass(frozen=True)
class RankQuery:
    """The ranks of a subject's outputs on a copy of a split: what they depend on, and where they are saved."""

    subject: Subject
    copy: Copy

    @cached_property
    def restriction(self) -> tuple[int, ...] | None:
        """The indices of the outputs that count; None for all."""
        return output_indices(self.copy.dataset, self.subject.catalog)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Everything that can change a rank except libraries, code and images, as JSON values."""
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
        """The module that reads the data set's images and labels."""
        return facts.module_name(plugins.load("datasets", self.copy.dataset.kind))

    @property
    def versions(self) -> dict[str, Any]:
        """The versions of libraries and of zoo that can change a rank, and a digest of zoo's code that does."""
        builder = facts.module_name(plugins.load("builders", self.subject.builder.library))
        code = facts.code_sha256(__name__, self.reader, builder)
        return {"libraries": _libraries(), "zoo": zoo_version(), "code_sha256": code}

    @cached_property
    def pieces(self) -> JsonFolder:
        """The folder of the ranked parts."""
        code = (__name__, self.reader)
        key = facts.architecture_key(
            "ranks", self.subject.builder, measured_by=code, versions=_libraries(), **self.inputs
        )
        return JsonFolder(state_folder("ranks", key[:2], key))

    def whole_key(self, manifest_sha256: str) -> str:
        """Return the key of the fact about the whole split. It has no versions, so that the fact is reused across them."""
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
        """Return the counts of an earlier evaluation of the whole split; None when there is none or it is too old.

        When versions or code are different now, `reused` in the evidence has both for each.
        """
        settings, claimed = self.subject.settings, self.copy.card.manifest_sha256
        if settings.refresh:
            self.pieces.clear()
            return None
        if not self.copy.is_hashed and claimed is not None and self._recall_counts(claimed):
            self.copy.hash_all()
            _refuse_wrong_copy(self.copy, digests=True)
        manifest = self.copy.manifest_sha256
        fact = self._recall_counts(manifest) if manifest else None
        if fact is None or _days_since(fact.evidence["measured"]) > (settings.evaluation.max_age_days or float("inf")):
            return None
        counts, differing = Counts(**fact.evidence["counts"]), _differing(fact.evidence, self.versions)
        reused = {"reused": differing} if differing else {}
        evidence = {**fact.evidence, "manifest_sha256": manifest, "equal_images": self.copy.equal_images, **reused}
        return Measured(counts, counts.images, evidence)

    def _recall_counts(self, manifest_sha256: str) -> Fact | None:
        return facts.recall(self.whole_key(manifest_sha256), partial(_is_accuracy, images=len(self.copy)))

    def recall_ranks(self) -> dict[int, str]:
        """Return the ranks of earlier runs, by the image's index."""
        known: dict[int, str] = {}
        for piece in self.pieces.read(_is_piece):
            indices = piece["indices"]
            if max(indices, default=0) < len(self.copy) and self.copy.lines_sha256(indices) == piece["lines_sha256"]:
                known.update(zip(indices, piece["ranks"], strict=True))
        return known

    def keep(self, ranked: RankedImages) -> None:
        """Save a part, and the digests of its images."""
        for index, digest in zip(ranked.indices, ranked.digests, strict=True):
            self.copy.note_digest(index, digest)
        lines = self.copy.lines_sha256(ranked.indices)
        self.pieces.add({"indices": ranked.indices, "ranks": ranked.ranks, "lines_sha256": lines})
        self.copy.save()

    def keep_whole(self, counts: Counts, evidence: Mapping[str, Any]) -> None:
        """Save the counts of the whole split, and delete its parts."""
        manifest = self.copy.manifest_sha256
        assert manifest is not None
        facts.keep(self.whole_key(manifest), Fact(counts.top1, {"counts": asdict(counts), **evidence}))
        self.pieces.clear()


_EVIDENCE = object_with(
    {
        "counts": {"images": is_count, "top1": is_count, "top5": is_count},
        "device": is_text,
        "precision": is_text,
        "libraries": mapping_of(one_of(None, is_text)),
        "zoo": is_text,
        "code_sha256": is_sha256,
        "measured": is_text,
    }
)


def _is_accuracy(fact: Fact, images: int) -> bool:
    """Return whether it is about a whole split of that many images, with possible counts, and was measured in the past."""
    if not has_form(fact.evidence, _EVIDENCE):
        return False
    counts = Counts(**fact.evidence["counts"])
    is_possible = counts.top1 <= counts.top5 <= counts.images == images and has_form(fact.value, counts.top1)
    try:
        return is_possible and _days_since(fact.evidence["measured"]) >= -MAX_CLOCK_DAYS
    except ValueError:
        return False


def _is_piece(piece: Any) -> bool:
    """Return whether it has a rank for each of some images, which may be of another split."""
    if not has_form(piece, {"indices": [is_count], "ranks": is_text, "lines_sha256": is_sha256}):
        return False
    indices, ranks = piece["indices"], piece["ranks"]
    return len(indices) == len(ranks) == len(set(indices)) and set(ranks) <= RANKS


def _rank_all(query: RankQuery, stop: Stop) -> Measured:
    """Rank the images that are not ranked yet, in the order of the seed, until the sample is complete or `stop` is true."""
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
    """Yield each part in order as soon as the ranks of all its images are in `known`, and the images ranked in this run."""
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
    """Rank the parts, here or with an engine's workers, and yield them in order; each is saved as soon as it is done."""
    query.subject.require_measuring()
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
        replace(query.subject, settings=worker_settings, _artifacts={}),
        query.copy.dataset,
        query.copy.split,
        query.inputs["sha256"],
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
    """The work of a worker: rank a part. Each worker loads the model and opens the copy once.

    sha256: of the weights that the ranks are kept for. A worker measures its own file, perhaps on another machine.
    """

    subject: Subject
    dataset: Dataset
    split: str
    sha256: str

    def __call__(self, part: Sequence[int]) -> RankedImages:
        """Rank the images with these indices."""
        (ranked,) = self._ranker.rank([part])
        return ranked

    @cached_property
    def _ranker(self) -> Ranker:
        measured = self.subject.artifact(self.subject.card.preferred_weights)
        if measured.sha256 != self.sha256:
            what = f"{measured.file} changed after it was measured: its sha256 was {self.sha256}, now {measured.sha256}"
            raise WrongContent(what, hint="run the command again when no other program writes the file")
        return make_ranker(RankQuery(self.subject, open_sound_copy(self.subject, self.dataset, self.split)))

    def __getstate__(self) -> dict[str, Any]:
        return {"subject": self.subject, "dataset": self.dataset, "split": self.split, "sha256": self.sha256}


def make_ranker(query: RankQuery) -> Ranker:
    """Load the model of a query, and return the ranker of its images."""
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
    """Count the images with these ranks."""
    text = "".join(ranks)
    return Counts(len(text), text.count("0"), sum(text.count(str(rank)) for rank in range(TOP)))


def random_order(images: int, seed: int) -> list[int]:
    """Return the order in which a split's images are ranked: a permutation by the seed, the same on every machine.

    Images are sorted by the numbers of the Mersenne Twister, because Python guarantees their sequence
    (docs.python.org/3/library/random.html, "Notes on Reproducibility", seen 2026-11-24), but not that of `shuffle`.
    """
    numbers = random.Random(seed)
    return [index for _, index in sorted((numbers.random(), index) for index in range(images))]


def part_size(images: int, batch: int) -> int:
    """Return the number of images in a part. It does not depend on the number of workers."""
    return max(batch, min(max(MIN_PART, PART_BATCHES * batch), -(-images // PARTS_OF_A_SPLIT)))


def batch_size(subject: Subject) -> int:
    """Return the number of images in a batch: the setting, or the default for the kind of device."""
    kind = device_kind(subject.settings.device)
    return subject.settings.evaluation.batch_size or BATCH_SIZE.get(kind, ACCELERATOR_BATCH_SIZE)


def default_jobs(device: str) -> int:
    """Return the default number of workers of an evaluation: one for each accelerator, or one on a CPU."""
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
        **({"equal_images": query.copy.equal_images} if query.copy.is_hashed else {}),
    }


def _libraries() -> dict[str, str | None]:
    return {name: version_of(name) for name in LIBRARIES}


def _differing(evidence: Mapping[str, Any], versions: Mapping[str, Any]) -> dict[str, dict[str, str | None]]:
    """Return the versions that are different now, by name: the version that measured the accuracy, and the present one."""
    measured, now = ({**parts["libraries"], **parts} for parts in (evidence, versions))
    names = [name for name in (*LIBRARIES, "zoo", "code_sha256") if measured.get(name) != now.get(name)]
    return {name: {"measured": measured.get(name), "now": now.get(name)} for name in names}


def _tf32(kind: str) -> dict[str, bool]:
    """Return whether CUDA may round 32-bit factors to TF32: it does so in convolutions by default, which changes accuracies."""
    if kind != "cuda":
        return {}
    import torch

    return {"tf32": bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)}


def _days_since(moment: str) -> float:
    then = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds() / 86_400
