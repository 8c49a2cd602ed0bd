"""Check that a fetched file of weights is signed, in the release on the Hub that its card names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import CannotCheck, WrongContent
from zoo.publishing import signing
from zoo.publishing.audit import digests_of_release
from zoo.publishing.hub_repository import Destination, Repository
from zoo.publishing.release import SIGNATURE
from zoo.weights.sources.hf import parse

if TYPE_CHECKING:
    from zoo.registry.card import Weights
    from zoo.weights.store import Artifact


def check_signature(weights: Weights, artifact: Artifact, key: Path) -> None:
    """Fail unless the file is signed by that public key, in the release of a repository that the card names by hf://.

    Raises WrongContent when it is not, CannotCheck when no such repository can be asked.
    """
    addresses = [parse(url) for url in weights.urls if url.startswith("hf://")]
    if not addresses:
        hint = "give an hf:// address under `urls`, or fetch without --signature"
        raise CannotCheck(
            f"{weights.file} has no address on the Hub, where its signature would be",
            where=str(weights.where),
            hint=hint,
        )
    address = addresses[0]
    destination = Destination(address.repository, address.revision or "main", create=False)
    published_files = Repository(destination).published_files()
    signature = published_files[SIGNATURE].content if SIGNATURE in published_files else None
    if signature is None:
        raise WrongContent(f"{address.repository} is not signed", where=str(weights.where), hint="ask its publisher")
    digests = digests_of_release(published_files)
    signing.verify(signature, digests, key)
    if digests.get(address.path) != artifact.sha256:
        what = f"{artifact.file} is not the file that was signed: sha256 {artifact.sha256}, signed {digests.get(address.path, 'nothing')}"
        raise WrongContent(what, where=str(weights.where), hint="do not use it; ask the publisher")
