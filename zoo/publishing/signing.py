"""Sign a release, and verify its signature.

The signature is an OpenSSF model signature over all files, which `model_signing` also verifies. Signing
and verifying use digests that were measured or listed before, so no weights are read again. Needs the extra `sign`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.errors import CannotCheck, UsageError, WrongContent

IGNORED = ("model.sig",)
"""The files that the signature tells a verifier to leave out: a file cannot contain its own digest."""


def sign(digests: Mapping[str, str], key: Path, name: str) -> bytes:
    """Return the signature over files, by path and SHA-256, with an elliptic-curve private key in a PEM file.

    name: the model's name. Two signatures over the same files differ, because ECDSA is not deterministic. Raises
    UsageError when the key is not valid, CannotCheck when the extra is not installed.
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
    """Raise WrongContent unless the signature is by that public key (a PEM file) and over exactly these files.

    Raises UsageError when the key is not valid, CannotCheck when the extra is not installed.
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
        except Exception as error:  # a malformed file makes the library raise anything; the signature is not valid then
            raise _signature_error(error, key, is_by_key=hashing_config.was_asked) from error


def is_by(signature: bytes, digests: Mapping[str, str], private_key: Path) -> bool:
    """Whether the signature is by that private key and over exactly these files, so that it can be kept."""
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
    """Return a hashing configuration of the library that gives known digests instead of reading files."""
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
        """See above. The library calls `hash` only after it has verified that the signature is by the key."""

        was_asked = False

        def hash(self, model_path: object, *, files_to_hash: object = None) -> Any:
            """Return the manifest of the known digests."""
            self.was_asked = True
            return manifest.Manifest(name, items, kind)

    return KnownDigests()


def _signature_error(error: Exception, key: Path, *, is_by_key: bool) -> WrongContent:
    """Return the error for what the library found."""
    if not is_by_key:
        what, hint = f"the signature is not by the key {key.name}", "ask the publisher for the public key"
    else:
        text = str(error).replace("\\'", "'")  # the message is the repr of a list
        names = re.findall(r"Hash mismatch for '([^']+)'", text) + re.findall(
            r"files (?:found )?in model '[^']*': ([^\"\]]+)", text
        )
        what = (
            f"the signature is by the key {key.name}, but over other files: {', '.join(names) or 'it is not readable'}"
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
    hint = "create one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
    return UsageError(
        f"{key}: not an elliptic-curve {kind} key: {reason}",
        hint=hint + "; openssl ec -in key.pem -pubout -out key.pub",
    )
