"""Check the signature of a downloaded weights file, in the release on the Hub that its card names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import CannotCheck, WrongContent
from zoo.publishing import signing
from zoo.publishing.audit import digests_of_release
from zoo.publishing.hub_repository import HubOptions, Repository
from zoo.publishing.release import SIGNATURE
from zoo.weights.sources.hf import parse

if TYPE_CHECKING:
    from zoo.registry.card import Weights
    from zoo.weights.store import Artifact


def check_signature(weights: Weights, artifact: Artifact, key: Path) -> None:
    """Raise WrongContent unless the file is signed by that public key, in the repository of the card's first hf:// URL.

    Raises CannotCheck when the card has no such URL or the repository cannot be read.
    """
    addresses = [parse(url) for url in weights.urls if url.startswith("hf://")]
    if not addresses:
        hint = "add an hf:// URL under `urls`, or fetch without --signature"
        raise CannotCheck(
            f"{weights.file} has no hf:// URL, so there is no signature to check",
            where=str(weights.where),
            hint=hint,
        )
    address = addresses[0]
    options = HubOptions(branch=address.revision or "main")
    published_files = Repository(address.repository, options).published_files()
    signature = published_files[SIGNATURE].content if SIGNATURE in published_files else None
    if signature is None:
        raise WrongContent(
            f"{address.repository} is not signed", where=str(weights.where), hint="ask the publisher to sign it"
        )
    digests = digests_of_release(published_files)
    signing.verify(signature, digests, key)
    if digests.get(address.path) != artifact.sha256:
        signed = digests.get(address.path, "no such file")
        what = f"{artifact.file} is not the file that was signed: sha256 {artifact.sha256}, signed {signed}"
        raise WrongContent(what, where=str(weights.where), hint="do not use it; ask the publisher")
