"""Proof -> release folder: README.md, config.json, model.safetensors, verification.json and the licence's text.

The same proof gives the same bytes. Weights that are safetensors already are released as they were verified, without
torch; a pickle is converted and the tensors of both are proved equal.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.errors import CannotCheck, NotHere, Refused, WrongContent
from zoo.publishing.gate import Admission, Proof, measured_in
from zoo.publishing.merge import FindReadme, difference, merge
from zoo.publishing.readme import ReleaseAddress, generate
from zoo.registry.card import Card, Input, Rename, Weights
from zoo.verification.report import VERSION, Finding, Report
from zoo.weights import store, tensors
from zoo.weights.store import Artifact

README, CONFIG, WEIGHTS, STATEMENT, LICENSE = (
    "README.md", "config.json", "model.safetensors", "verification.json", "LICENSE",
)  # fmt: skip
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""Source: github.com/in-toto/attestation, spec/v1; model_signing 1.1.1 writes it so too (_signing/signing.py)."""
PREDICATE_TYPE = "urn:zoo-verify:report:"
"""The predicate is a report as schemas/report.schema.json describes it; the version of its format follows."""
SIGNATURE = "model.sig"
"""What `model_signing` calls a signature by default (1.1.1, _cli.py)."""
SMALL_BYTES = 10_000_000
"""Files up to this size are read whole. A file that is not in LFS, which gives its SHA-256, has at most 5 MB on the Hub
(huggingface_hub 2.4.0, _commit_api.py, CommitOperationAdd)."""
TEXTS = frozenset((README, CONFIG, STATEMENT, LICENSE, SIGNATURE))
"""The small files of a release, which are read for a check; what else is there is only listed."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release: its path there, its bytes (or where they lie), and what they measure."""

    path: str
    content: bytes | Path
    size_bytes: int
    sha256: str

    @classmethod
    def of_text(cls, path: str, text: str) -> ReleaseFile:
        """A file with that text, as UTF-8."""
        content = text.encode()
        return cls(path, content, len(content), hashlib.sha256(content).hexdigest())

    def read(self) -> bytes:
        """All of its bytes."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def git_sha1(self) -> str:
        """Git's id of a blob with these bytes, which the Hub gives for files that are not in LFS: 40 hex digits.

        Source: git-scm.com/book/en/v2/Git-Internals-Git-Objects, "Object Storage"; huggingface_hub 2.4.0, utils/sha.py.
        """
        digest = hashlib.sha1(f"blob {self.size_bytes}\0".encode(), usedforsecurity=False)
        for block in blocks_of(self.content):
            digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Release:
    """All files of a release, by path. What they say was measured on these very bytes."""

    model: str
    files: tuple[ReleaseFile, ...]

    def file(self, path: str) -> ReleaseFile:
        """The file of that path; raises KeyError when the release has none."""
        return {item.path: item for item in self.files}[path]


@dataclass(frozen=True, slots=True)
class Change:
    """What putting a file there would do: `new`, `changed`, `same`, or `unknown` where the place could not be asked."""

    file: ReleaseFile
    kind: str


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file where it was published: what the place says of it, and its bytes where they were read.

    sha256: empty for a small file of which only git's id is known.
    """

    path: str
    size_bytes: int
    sha256: str
    git_sha1: str = ""
    content: bytes | None = None


def measure_files(card: Card) -> tuple[Artifact, ...]:
    """The card's files on this machine, read from end to end now, as the card says, in its order; nothing is fetched.

    Raises NotHere when one is not here, WrongContent when one is not what the card says.
    """
    return tuple(_measure_now(card, weights) for weights in card.weights)


def _measure_now(card: Card, weights: Weights) -> Artifact:
    """A file beside the card is read by each fetch; one of the store is taken by its size and time of change, and read here."""
    artifact = store.fetch(card, weights, offline=True)
    if artifact.path.parent == card.path.absolute().parent:
        return artifact
    size_bytes, sha256 = store.digest(artifact.path)
    disagreement = store.disagreement(weights, size_bytes, sha256)
    if disagreement:
        hint = "zoo cache verify, then zoo fetch it again"
        raise WrongContent(disagreement, where=str(artifact.path), hint=hint)
    return replace(artifact, size_bytes=size_bytes, sha256=sha256)


def released_weights(proof: Proof, folder: Path) -> tuple[str, ReleaseFile]:
    """The card's file that is released, and what becomes model.safetensors.

    The first safetensors file as it is; where the card has none with the architecture's own names, the first file
    converted, into `folder`.
    """
    renames = {weights.file: weights.rename for weights in proof.admission.card.weights}
    for artifact in proof.artifacts:
        if tensors.is_safetensors(artifact.path) and _has_own_names(artifact.path, renames[artifact.file]):
            return artifact.file, ReleaseFile(WEIGHTS, artifact.path, artifact.size_bytes, artifact.sha256)
    source = proof.artifacts[0]
    target = folder / WEIGHTS
    tensors.write_safetensors(source, target, renames[source.file])
    size_bytes, sha256 = store.digest(target)
    return source.file, ReleaseFile(WEIGHTS, target, size_bytes, sha256)


def compose_release(
    proof: Proof,
    source_file: str,
    weights: ReleaseFile,
    *,
    address: ReleaseAddress,
    readme: bytes | None = None,
    find_readme: FindReadme = lambda matches: None,
) -> Release:
    """The release for an address: source_file and weights as `released_weights` gave them, readme what is there already.

    find_readme: see Preview, asked only when the README was changed on both sides, which raises Refused.
    """
    admission = proof.admission
    measured = {item.file: item.sha256 for item in proof.artifacts}
    generated = generate(admission, source_file, address, is_converted=measured[source_file] != weights.sha256)
    text = merge(generated, None if readme is None else _decode(readme), find_readme)
    files = [
        ReleaseFile.of_text(README, text),
        ReleaseFile.of_text(CONFIG, _json(config(admission))),
        weights,
        *_license(admission.card),
    ]
    statement = _statement(files, admission.report)
    files.append(ReleaseFile.of_text(STATEMENT, _json(statement)))
    return Release(admission.card.name, tuple(sorted(files, key=lambda item: item.path)))


def _decode(readme: bytes) -> str:
    """What a person wrote is kept to the byte, so what cannot be read is not written again."""
    try:
        return readme.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            f"the README that is there is not UTF-8, at byte {error.start}", hint="save it there as UTF-8"
        ) from error


def config(admission: Admission) -> dict[str, Any]:
    """What timm's and transformers' loaders read: the card's values, and what the build check found in the module.

    Nothing is taken from the architecture's own default weights: their tag, licence and preprocessing are another
    model's. `num_classes` is not among the `model_args`: transformers 5.23 passes it by itself, and would pass it twice.
    """
    card = admission.card
    if card.builder is None or card.input is None:
        raise NotHere("the card names no builder or no input", where=str(card.where), hint="add `builder` and `input`")
    build = measured_in(admission.report, "build", "build")
    traits: Mapping[str, Any] = build.evidence if build else {}
    if card.builder.library != "timm":  # timm and transformers would take it for an architecture of timm's
        own = {"library": card.builder.library, "entry": card.builder.entry, "options": dict(card.builder.options)}
        shared = {"num_classes": traits.get("num_classes"), **_labels(admission)}
        return {"builder": own, "input": card.input.as_data(), **_present(shared)}
    entry, _, tag = card.builder.entry.partition(".")
    options = {key: value for key, value in card.builder.options.items() if key != "num_classes"}
    values = {
        "architecture": entry,
        **{key: traits.get(key) for key in ("num_classes", "num_features", "global_pool")},
        **_labels(admission),
        "model_args": options or None,
        "pretrained_cfg": _pretrained_config(card, card.input, tag, traits),
    }
    return _present(values)


def _pretrained_config(card: Card, model_input: Input, tag: str, traits: Mapping[str, Any]) -> dict[str, Any]:
    """What timm calls `pretrained_cfg`; traits: what the build check found."""
    values = {
        "tag": tag or None,
        "custom_load": False,
        "input_size": model_input.size,
        "fixed_input_size": traits.get("fixed_input_size", False),
        "interpolation": model_input.interpolation,
        "crop_pct": model_input.crop_pct,
        "crop_mode": model_input.crop_mode,
        "mean": model_input.mean,
        "std": model_input.std,
        "num_classes": traits.get("num_classes"),
        "first_conv": traits.get("first_conv"),
        "classifier": traits.get("classifier"),
        "license": card.license,
        "origin_url": card.code,
    }
    return {"pool_size": None, **_present(values)}


def text_at(path: Path) -> str | None:
    """The text of a file, None when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotCheck(f"cannot be read: {error}", where=str(path)) from error


def readme_difference(release: Release, published_readme: bytes | None) -> str:
    """A unified diff from the README that is there to the release's; empty when they are equal."""
    old = (published_readme or b"").decode(errors="replace")
    return difference(old, release.file(README).read().decode(), "README.md there", "README.md of the release")


def with_signature(release: Release, signature: bytes) -> Release:
    """The release with a signature over all of its other files."""
    file = ReleaseFile(SIGNATURE, signature, len(signature), hashlib.sha256(signature).hexdigest())
    files = [item for item in release.files if item.path != SIGNATURE]
    return Release(release.model, tuple(sorted([*files, file], key=lambda item: item.path)))


def digests_of(files: Iterable[ReleaseFile | PublishedFile]) -> dict[str, str]:
    """Path to SHA-256 of the files that a signature is over: all but itself."""
    return {item.path: item.sha256 for item in files if item.path != SIGNATURE}


def count_elements(path: Path) -> int:
    """How many numbers the header of a safetensors file announces; raises WrongContent when there is none."""
    return sum(map(math.prod, _shapes(path).values()))


def _shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors by name, of which only the header is read.

    Source: see tensors.is_safetensors.
    """
    try:
        with path.open("rb") as file:
            length = tensors.header_bytes(path.name, file.read(8), path.stat().st_size)
            header = json.loads(file.read(length))
        return {name: item["shape"] for name, item in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise WrongContent(f"{path.name} has no sound header of safetensors", where=str(path)) from error


def _has_own_names(path: Path, renames: Sequence[Rename]) -> bool:
    """Whether the file's names are the architecture's, so that any loader can take them as they are."""
    _, steps = tensors.under_own_names(_shapes(path), renames)
    return not steps


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _labels(admission: Admission) -> dict[str, Any]:
    """The classes in the order of the outputs: the card's, or those of the data set whose labels the outputs matched."""
    if admission.card.class_names:
        return {"label_names": list(admission.card.class_names)}
    for dataset in admission.datasets.values():
        descriptions = dict(zip(dataset.classes, dataset.class_names, strict=False))
        return {"label_names": list(dataset.classes), "label_descriptions": descriptions or None}
    return {}


def _license(card: Card) -> Iterator[ReleaseFile]:
    if card.license_file is None:
        return
    path = card.path.parent / card.license_file
    text = text_at(path)
    if text is None:
        raise NotHere(f"there is no file {path.name}", where=str(card.where["license_file"]), hint=f"put it at {path}")
    yield ReleaseFile.of_text(LICENSE, text)


def _statement(files: list[ReleaseFile], report: Report) -> dict[str, Any]:
    """An in-toto Statement: the report is about these files. Of the places in cards only the file's name is told."""
    shared = replace(report, findings=tuple(_without_folder(item) for item in report.findings))
    subjects = [
        {"name": item.path, "digest": {"sha256": item.sha256}} for item in sorted(files, key=lambda item: item.path)
    ]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": f"{PREDICATE_TYPE}{VERSION}",
        "predicate": json.loads(shared.to_json()),
    }


def _without_folder(finding: Finding) -> Finding:
    return replace(finding, where=finding.where.rpartition("/")[2])


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def blocks_of(content: bytes | Path) -> Iterator[bytes]:
    """Yield the content in blocks of 1 MiB."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block
