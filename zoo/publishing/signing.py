"""Digests of a release <-> an OpenSSF model signature over all of its files, which anybody's `model_signing` verifies.

Signing and verifying go by digests that were measured or listed already: no weights are read once more. Needs the extra
`sign`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.errors import CannotCheck, UsageError, WrongContent

IGNORED = ("model.sig",)
"""What the signature says of itself that a verifier must leave out: a file cannot hold its own digest."""


def sign(digests: Mapping[str, str], key: Path, name: str) -> bytes:
    """The signature over files by path and SHA-256, made with an elliptic-curve private key in a PEM file.

    name: the signed model's name. Two signatures over the same are different bytes: ECDSA is not deterministic.
    Raises UsageError when the key is none, CannotCheck when the extra is not installed.
    """
    signing = _module("signing")
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "model.sig"
        try:
            config = signing.Config().use_elliptic_key_signer(private_key=key)
        except (OSError, ValueError, TypeError) as error:
            raise _key_error(key, "private", error) from error
        config.set_hashing_config(_hashing_config(digests, name)).sign(Path(name), target)
        return target.read_bytes()


def verify(signature: bytes, digests: Mapping[str, str], key: Path) -> None:
    """Fail unless the signature is by that public key (a PEM file) and over exactly these files.

    Raises WrongContent when it is not, UsageError when the key is none, CannotCheck when the extra is not installed.
    """
    verifying = _module("verifying")
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except (OSError, ValueError, TypeError) as error:
        raise _key_error(key, "public", error) from error
    hashing_config = _hashing_config(digests, "")
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "model.sig"
        source.write_bytes(signature)
        try:
            config.set_hashing_config(hashing_config).verify(Path(temporary), source)
        except Exception as error:  # whatever a foreign file makes the library raise, the signature is not good
            raise _signature_error(error, key, is_by_key=hashing_config.was_asked) from error


def is_by(signature: bytes, digests: Mapping[str, str], private_key: Path) -> bool:
    """Whether a signature over these files was made with that private key, so that it need not be made again."""
    from cryptography.hazmat.primitives import serialization

    try:
        public = serialization.load_pem_private_key(private_key.read_bytes(), None).public_key()
    except (OSError, ValueError, TypeError) as error:
        raise _key_error(private_key, "private", error) from error
    text = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(text)
        file.flush()
        try:
            verify(signature, digests, Path(file.name))
        except WrongContent:
            return False
    return True


def _hashing_config(digests: Mapping[str, str], name: str) -> Any:
    """A hashing configuration of the library that answers with known digests in place of reading files."""
    manifest, reads_files = _module("manifest"), _module("hashing").Config
    digest_type = _module("_hashing.hashing").Digest
    items = [
        manifest.FileManifestItem(path=PurePosixPath(path), digest=digest_type("sha256", bytes.fromhex(sha256)))
        for path, sha256 in sorted(digests.items())
    ]
    kind = manifest.SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(IGNORED)}
    )

    class KnownDigests(reads_files):  # type: ignore[misc, valid-type]  # the library's modules are loaded by name
        """See above. The library asks only after it has found that the signature is by the key."""

        was_asked = False

        def hash(self, model_path: object, *, files_to_hash: object = None) -> Any:
            """The manifest of the known digests."""
            self.was_asked = True
            return manifest.Manifest(name, items, kind)

    return KnownDigests()


def _signature_error(error: Exception, key: Path, *, is_by_key: bool) -> WrongContent:
    """What the library found, without its objects."""
    if not is_by_key:
        what, hint = f"the signature is not by the key {key.name}", "ask the publisher which key signs"
    else:
        text = str(error).replace("\\'", "'")  # the message is a printed list
        names = re.findall(r"Hash mismatch for '([^']+)'", text) + re.findall(
            r"files (?:found )?in model '[^']*': ([^\"\]]+)", text
        )
        what = (
            f"the signature is by the key {key.name}, but over other files: {', '.join(names) or 'it cannot be read'}"
        )
        hint = "do not use this release: it was changed after it was signed"
    return WrongContent(what, hint=hint)


def _module(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise CannotCheck("model-signing is not installed", hint="pip install 'zoo-verify[sign]'") from error


def _key_error(key: Path, kind: str, error: Exception) -> UsageError:
    reason = " ".join(str(error).split())[:200]
    hint = "make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
    return UsageError(
        f"{key} holds no elliptic-curve {kind} key: {reason}",
        hint=hint + "; openssl ec -in key.pem -pubout -out key.pub",
    )
