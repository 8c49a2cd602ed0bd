"""Proof -> release folder: README.md, config.json, model.safetensors, verification.json and the licence's text.

The same proof gives the same bytes. Weights that are safetensors already are released as they were verified, without
torch; a pickle is converted and the tensors of both are proved equal. Imports readme, gate, model, and what lies below;
never verifying: what it needs of a verification is in the Proof.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import model, store
from zoo.card import Card
from zoo.errors import CannotCheck, NotHere, WrongContent
from zoo.gate import Admission, Proof, measured_in
from zoo.readme import Address, difference, generate, merge
from zoo.report import Finding, Report
from zoo.store import Artifact

if TYPE_CHECKING:
    from torch import Tensor

README, CONFIG, WEIGHTS, STATEMENT, LICENSE = (
    "README.md", "config.json", "model.safetensors", "verification.json", "LICENSE",
)  # fmt: skip
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
"""Source: github.com/in-toto/attestation, spec/v1/statement.md, seen 2026-11-24."""
PREDICATE_TYPE = "urn:zoo-verify:report:1"
"""The predicate is a report as schemas/report.schema.json describes it, version 1."""
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
    """What writing a file would do: `new`, `changed` or `same`."""

    file: ReleaseFile
    kind: str


def measure(card: Card) -> tuple[Artifact, ...]:
    """The card's files on this machine, measured now and as the card says, in its order; nothing is fetched.

    Raises NotHere when one is not here, WrongContent when one is not what the card says.
    """
    return tuple(store.fetch(card, weights, offline=True) for weights in card.weights)


def weights_of(proof: Proof, folder: Path) -> tuple[str, ReleaseFile]:
    """The card's file that is released, and what becomes model.safetensors.

    The first safetensors file as it is; where the card has none, the first file converted, into `folder`.
    """
    for artifact in proof.artifacts:
        if model.is_safetensors(artifact.path):
            return artifact.file, ReleaseFile(WEIGHTS, artifact.path, artifact.size_bytes, artifact.sha256)
    source = proof.artifacts[0]
    target = convert(source, folder / WEIGHTS)
    size_bytes, sha256 = store.digest(target)
    return source.file, ReleaseFile(WEIGHTS, target, size_bytes, sha256)


def convert(source: Artifact, target: Path) -> Path:
    """The tensors of a file of weights as safetensors, proved equal: names, types, shapes and every bit.

    Raises WrongContent when the source cannot be loaded safely, or has a tensor that safetensors cannot hold.
    """
    from safetensors.torch import save_file

    state = {name: _own(tensor) for name, tensor in model.read_state_dict(source).items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(state, target, metadata={"format": "pt"})
    except (ValueError, TypeError, KeyError) as error:
        raise WrongContent(f"{source.file} cannot be written as safetensors: {error}") from error
    _refuse_difference(state, target, source.file)
    return target


def compose(proof: Proof, source_file: str, weights: ReleaseFile, address: Address, readme: str | None) -> Release:
    """The release: source_file and weights as `weights_of` gave them, readme the text that is there already.

    Raises Refused when the README was changed on both sides.
    """
    admission = proof.admission
    text = merge(generate(admission, source_file, address), readme)
    files = [
        ReleaseFile.of_text(README, text),
        ReleaseFile.of_text(CONFIG, _json(config(admission))),
        weights,
        *_license(admission.card),
    ]
    statement = _statement(files, admission.report)
    files.append(ReleaseFile.of_text(STATEMENT, _json(statement)))
    return Release(admission.card.name, tuple(sorted(files, key=lambda item: item.path)))


def config(admission: Admission) -> dict[str, Any]:
    """What timm's and transformers' loaders read: the card's values, and what the build check found in the module.

    Nothing is taken from the architecture's own default weights: their tag, licence and preprocessing are another
    model's. `num_classes` is not among the `model_args`: transformers 5.23 passes it by itself, and would pass it twice.
    """
    card = admission.card
    if card.builder is None or card.input is None:
        raise NotHere("the card names no builder or no input", where=str(card.where), mend="add `builder` and `input`")
    build = measured_in(admission.report, "build", "build")
    traits: Mapping[str, Any] = build.evidence if build else {}
    entry, _, tag = card.builder.entry.partition(".")
    options = {key: value for key, value in card.builder.options.items() if key != "num_classes"}
    pretrained = {
        "tag": tag or None,
        "custom_load": False,
        "input_size": card.input.size,
        "fixed_input_size": traits.get("fixed_input_size", False),
        "interpolation": card.input.interpolation,
        "crop_pct": card.input.crop_pct,
        "crop_mode": card.input.crop_mode,
        "mean": card.input.mean,
        "std": card.input.std,
        "num_classes": traits.get("num_classes"),
        "first_conv": traits.get("first_conv"),
        "classifier": traits.get("classifier"),
        "license": card.license,
        "origin_url": card.code,
    }
    values = {
        "architecture": entry,
        **{key: traits.get(key) for key in ("num_classes", "num_features", "global_pool")},
        **_labels(admission),
        "model_args": options or None,
        "pretrained_cfg": {"pool_size": None, **{key: value for key, value in pretrained.items() if value is not None}},
    }
    return {key: value for key, value in values.items() if value is not None}


def plan(release: Release, folder: Path) -> tuple[Change, ...]:
    """What `write` would do in that folder; the files there are read, nothing is written."""
    return tuple(Change(item, _kind(item, folder / item.path)) for item in release.files)


def write(release: Release, folder: Path) -> tuple[Change, ...]:
    """Put the release into a folder, each file whole or not at all, and say what was done; other files there stay.

    Raises CannotCheck when the folder cannot be written, or a file changed while it was copied.
    """
    changes = plan(release, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for change in changes:
            if change.kind != "same":
                _put(change.file, folder / change.file.path)
    except OSError as error:
        raise CannotCheck(
            f"{folder} cannot be written: {error.strerror or error}", mend="give another folder"
        ) from error
    return changes


def text_at(path: Path) -> str | None:
    """The text of a file, None when there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CannotCheck(f"cannot be read: {error}", where=str(path)) from error


def readme_difference(release: Release, there: str | None) -> str:
    """A unified diff from the README that is there to the release's; empty when they are equal."""
    return difference(there or "", release.file(README).read().decode(), "README.md there", "README.md of the release")


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
        raise NotHere(f"there is no file {path.name}", where=str(card.where["license_file"]), mend=f"put it at {path}")
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
        "predicateType": PREDICATE_TYPE,
        "predicate": json.loads(shared.to_json()),
    }


def _without_folder(finding: Finding) -> Finding:
    return replace(finding, where=finding.where.rpartition("/")[2])


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _kind(file: ReleaseFile, path: Path) -> str:
    if not path.is_file():
        return "new"
    return "same" if path.stat().st_size == file.size_bytes and store.digest(path)[1] == file.sha256 else "changed"


def _put(file: ReleaseFile, target: Path) -> None:
    """Copy to a file of its own beside the target, hashing what is written, and move it there when it is right."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    seen = hashlib.sha256()
    try:
        with temporary.open("wb") as out:
            for block in _blocks(file.content):
                seen.update(block)
                out.write(block)
        if seen.hexdigest() != file.sha256:
            raise CannotCheck(f"{file.path} was changed while it was copied", mend="try again")
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _own(tensor: Tensor) -> Tensor:
    """The tensor in memory of its own, as safetensors asks for: a view of another one is copied."""
    tensor = tensor.detach().contiguous()
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole else tensor.clone()


def _refuse_difference(state: Mapping[str, Tensor], path: Path, source: str) -> None:
    """Raises WrongContent when a tensor of the safetensors file differs from the one that was to be written."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as written:
        names = set(written.keys())
        differing = sorted(names.symmetric_difference(state))
        differing += [
            name for name in sorted(names & set(state)) if not _same_bits(state[name], written.get_tensor(name))
        ]
    if differing:
        raise WrongContent(
            f"{len(differing)} tensors of {source} came out differently as safetensors, first {differing[0]}"
        )


def _same_bits(one: Tensor, other: Tensor) -> bool:
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))
