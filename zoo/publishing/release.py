"""Compose the files of a release: README.md, config.json, model.safetensors, verification.json and the licence's text.

The same proof gives the same bytes. Weights in safetensors are released as they were verified, without importing torch;
a pickle is converted, and the tensors of both files are compared bit by bit.
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
from zoo.publishing.merge import NEW_README, PUBLISHED_README, FindReadme, Generated, difference, merge
from zoo.publishing.readme import ReleaseAddress, generate
from zoo.registry import files
from zoo.registry.card import Card, Input, Rename, Weights
from zoo.runtime.text import is_linkable
from zoo.verification.report import VERSION, Finding, Report
from zoo.weights import headers, store, tensors
from zoo.weights.renames import under_own_names
from zoo.weights.store import Artifact

README, CONFIG, WEIGHTS, STATEMENT, LICENSE = (
    "README.md", "config.json", "model.safetensors", "verification.json", "LICENSE",
)  # fmt: skip
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""Source: github.com/in-toto/attestation, spec/v1; model_signing 1.1.1 uses the same (_signing/signing.py)."""
PREDICATE_TYPE = "urn:zoo-verify:report:"
"""The predicate is a report as in schemas/report.schema.json. The version of the report format follows the colon."""
GENERATED_SHA256 = "generated_sha256"
"""The annotation of README.md in a statement: the digest of the part that zoo generated, as in the first mark. Source of
annotations: github.com/in-toto/attestation, spec/v1/resource_descriptor.md."""
SIGNATURE = "model.sig"
"""The default name of a signature in `model_signing` (1.1.1, _cli.py)."""
SMALL_BYTES = 10_000_000
"""Files up to this size are read completely. The Hub gives the SHA-256 of files in LFS; other files have at most 5 MB
(huggingface_hub 2.4.0, _commit_api.py, CommitOperationAdd)."""
TEXTS = frozenset((README, CONFIG, STATEMENT, LICENSE, SIGNATURE))
"""The small files of a release, which a check reads; other files are only listed."""
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release: its path, its content (or where that is on this machine), its size and SHA-256."""

    path: str
    content: bytes | Path
    size_bytes: int
    sha256: str

    @classmethod
    def of_text(cls, path: str, text: str) -> ReleaseFile:
        """Return a file with that text, as UTF-8."""
        content = text.encode()
        return cls(path, content, len(content), hashlib.sha256(content).hexdigest())

    def read(self) -> bytes:
        """Return the content."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    @property
    def git_sha1(self) -> str:
        """Git's id of a blob with this content, 40 hex digits: the Hub gives it for files that are not in LFS.

        Source: git-scm.com/book/en/v2/Git-Internals-Git-Objects, "Object Storage"; huggingface_hub 2.4.0, utils/sha.py.
        """
        digest = hashlib.sha1(f"blob {self.size_bytes}\0".encode(), usedforsecurity=False)
        for block in blocks_of(self.content):
            digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Release:
    """All files of a release, sorted by path. Their claims were measured on exactly these weights."""

    model: str
    files: tuple[ReleaseFile, ...]

    def file(self, path: str) -> ReleaseFile:
        """Return the file of that path; raises KeyError when the release does not have it."""
        return {item.path: item for item in self.files}[path]


@dataclass(frozen=True, slots=True)
class Change:
    """What publishing a file does: `new`, `changed`, `same`, or `unknown` where the target could not be read."""

    file: ReleaseFile
    kind: str


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A published file: size and digests that the target gives, and its content where it was read.

    sha256: empty for a small file for which only git's id is known.
    """

    path: str
    size_bytes: int
    sha256: str
    git_sha1: str = ""
    content: bytes | None = None


def measure_files(card: Card, folder: Path) -> tuple[Artifact, ...]:
    """Read the card's files on this machine completely, and return them in the card's order; nothing is downloaded.

    The files up to the one that is released are copied into `folder`, and the copies are measured: the bytes of a copy are
    published, whatever happens to the card's file meanwhile. Raises NotHere when a file is not on this machine, WrongContent
    when it differs from the card, CannotCheck when it cannot be copied.
    """
    artifacts: list[Artifact] = []
    is_found = False
    for number, weights in enumerate(card.weights):
        artifacts.append(_measure_now(card, weights, None if is_found else folder / str(number)))
        is_found = is_found or _is_releasable(artifacts[-1], weights.rename)
    return tuple(artifacts)


def _measure_now(card: Card, weights: Weights, copy_folder: Path | None) -> Artifact:
    """Return a file as it is now, or the copy of it that is made in that folder, with the digest of all its bytes."""
    path = store.locate(card, weights) or store.fetch(card, weights, offline=True).path
    if copy_folder is None:
        artifact = store.measure(weights, path, refresh=True)
    else:
        copy_folder.mkdir()
        artifact = store.measure_copy(weights, path, copy_folder / weights.file)
    disagreement = store.disagreement(weights, artifact.size_bytes, artifact.sha256)
    if not disagreement:
        return artifact
    if path.parent == card.path.absolute().parent:
        hint = "put the right file beside the card, or correct size_bytes and sha256 in the card"
        raise WrongContent(disagreement, where=str(weights.where), hint=hint)
    hint = f"run `zoo cache verify`, then `zoo fetch {card.name}`"
    raise WrongContent(disagreement, where=str(path), hint=hint)


@dataclass(frozen=True, slots=True)
class ReleasedWeights:
    """The card's file that is released, and the model.safetensors made of it."""

    source: Artifact
    file: ReleaseFile

    @property
    def is_converted(self) -> bool:
        """Whether the two differ in their bytes."""
        return self.source.sha256 != self.file.sha256


def released_weights(proof: Proof, folder: Path) -> ReleasedWeights:
    """Return the copy of the first safetensors file whose tensors have the architecture's names, as it is.

    Where the card has none, return its first file, converted into `folder`. proof: about the artifacts of `measure_files`.
    """
    renames = {weights.file: weights.rename for weights in proof.admission.card.weights}
    for artifact in proof.artifacts:
        if _is_releasable(artifact, renames[artifact.file]):
            return ReleasedWeights(artifact, ReleaseFile(WEIGHTS, artifact.path, artifact.size_bytes, artifact.sha256))
    source = proof.artifacts[0]
    target = folder / WEIGHTS
    tensors.write_safetensors(source, target, renames[source.file])
    size_bytes, sha256 = store.digest(target)
    return ReleasedWeights(source, ReleaseFile(WEIGHTS, target, size_bytes, sha256))


def compose_release(
    proof: Proof,
    weights: ReleasedWeights,
    *,
    address: ReleaseAddress,
    readme: bytes | None = None,
    find_readme: FindReadme = lambda matches: None,
    regenerate: bool = False,
) -> Release:
    """Return the release for an address.

    readme: the published one. find_readme, regenerate: see `merge`, which raises Refused for an edit of the generated part.
    """
    admission = proof.admission
    generated = generate(admission, weights.source.file, address, is_converted=weights.is_converted)
    text = merge(generated, None if readme is None else _decode(readme), find_readme, regenerate=regenerate)
    released = [
        ReleaseFile.of_text(README, text),
        ReleaseFile.of_text(CONFIG, _json(config(admission))),
        weights.file,
        *_license(admission.card),
    ]
    statement = _statement(released, admission.report, generated)
    released.append(ReleaseFile.of_text(STATEMENT, _json(statement)))
    return Release(admission.card.name, tuple(sorted(released, key=lambda item: item.path)))


def _decode(readme: bytes) -> str:
    """Decode a README; raises Refused when it is not UTF-8, because a person's text must be kept exactly."""
    try:
        return readme.decode()
    except UnicodeDecodeError as error:
        raise Refused(
            f"the published README is not UTF-8, at byte {error.start}", hint="save it as UTF-8, then publish again"
        ) from error


def config(admission: Admission) -> dict[str, Any]:
    """Return what timm and transformers load: the card's values, and what the build check found in the module.

    Nothing comes from the architecture's default weights: their tag, licence and preprocessing belong to another model.
    `num_classes` is not among the `model_args`, because transformers 5.23 passes it itself and would pass it twice.
    Raises NotHere when the card names no builder or no input size.
    """
    card, builder, model_input = admission.card, admission.card.required_builder, admission.card.required_input
    build = measured_in(admission.report, "build", "build")
    traits: Mapping[str, Any] = build.evidence if build else {}
    if builder.library != "timm":  # timm and transformers would look for an architecture of timm
        own = {"library": builder.library, "entry": builder.entry, "options": dict(builder.options)}
        shared = {"num_classes": traits.get("num_classes"), **_labels(admission)}
        return {"builder": own, "input": model_input.as_data(), **_present(shared)}
    entry, _, tag = builder.entry.partition(".")
    options = {key: value for key, value in builder.options.items() if key != "num_classes"}
    values = {
        "architecture": entry,
        **{key: traits.get(key) for key in ("num_classes", "num_features", "global_pool")},
        **_labels(admission),
        "model_args": options or None,
        "pretrained_cfg": _pretrained_config(card, model_input, tag, traits),
    }
    return _present(values)


def _pretrained_config(card: Card, model_input: Input, tag: str, traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return timm's `pretrained_cfg`. traits: what the build check found."""
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
        "origin_url": card.code if card.code and is_linkable(card.code) else None,
    }
    return {"pool_size": None, **_present(values)}


def readme_difference(release: Release, published_readme: bytes | None) -> str:
    """Return a unified diff from the published README to the release's; empty when they are equal."""
    old = (published_readme or b"").decode(errors="replace")
    return difference(old, release.file(README).read().decode(), PUBLISHED_README, NEW_README)


def with_signature(release: Release, signature: bytes) -> Release:
    """Return the release with a signature over all of its other files."""
    file = ReleaseFile(SIGNATURE, signature, len(signature), hashlib.sha256(signature).hexdigest())
    files = [item for item in release.files if item.path != SIGNATURE]
    return Release(release.model, tuple(sorted([*files, file], key=lambda item: item.path)))


def digests_of(files: Iterable[ReleaseFile | PublishedFile]) -> dict[str, str]:
    """Return path to SHA-256 of the files that a signature covers: all but the signature itself."""
    return {item.path: item.sha256 for item in files if item.path != SIGNATURE}


def count_elements(path: Path) -> int:
    """Return the number of elements in a safetensors header; raises WrongContent when the header is not valid."""
    return sum(map(math.prod, _shapes(path).values()))


def _shapes(path: Path) -> dict[str, list[int]]:
    """Return the shapes of a safetensors file's tensors by name; only the header is read.

    Source: see tensors.is_safetensors.
    """
    try:
        with path.open("rb") as file:
            length = headers.header_bytes(path.name, file.read(8), path.stat().st_size)
            header = json.loads(file.read(length))
        return {name: item["shape"] for name, item in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise WrongContent(f"{path.name}: not a valid safetensors header", where=str(path)) from error


def _is_releasable(artifact: Artifact, renames: Sequence[Rename]) -> bool:
    """Whether the file is safetensors with the architecture's names, so that any loader can use it unchanged."""
    return tensors.is_safetensors(artifact.path) and not under_own_names(_shapes(artifact.path), renames)[1]


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _labels(admission: Admission) -> dict[str, Any]:
    """Return the classes in the order of the outputs: the card's, else the data set's whose labels the outputs matched."""
    if admission.card.class_names:
        return {"label_names": list(admission.card.class_names)}
    for dataset in admission.measured_datasets:
        if dataset.label_space is None:  # else the outputs have more classes than the data set
            descriptions = dict(zip(dataset.classes, dataset.class_names, strict=False))
            return {"label_names": list(dataset.classes), "label_descriptions": descriptions or None}
    return {}


def _license(card: Card) -> Iterator[ReleaseFile]:
    if card.license_file is None:
        return
    where = str(card.where["license_file"])
    content = files.read_beside(card.path, card.license_file, SMALL_BYTES, where)
    if content is None:
        what = f"no such file: {card.license_file}"
        raise NotHere(what, where=where, hint=f"create {card.license_file} beside the card")
    try:
        yield ReleaseFile.of_text(LICENSE, content.decode())
    except UnicodeDecodeError as error:
        what = f"{card.license_file} is not UTF-8, at byte {error.start}"
        raise CannotCheck(what, where=where, hint="save it as UTF-8") from error


def _statement(released: list[ReleaseFile], report: Report, generated: Generated) -> dict[str, Any]:
    """Return an in-toto Statement that the report is about these files. It names card files without their folders.

    README.md has an annotation with the digest of its generated part, which stays when a person edits the text around it.
    """
    shared = replace(report, findings=tuple(_without_folder(item) for item in report.findings))
    annotations = {README: {"annotations": {GENERATED_SHA256: generated.sha256}}}
    subjects = [
        {"name": item.path, "digest": {"sha256": item.sha256}, **annotations.get(item.path, {})}
        for item in sorted(released, key=lambda item: item.path)
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
