"""Signatures over releases: made and verified by digests, understood by the unmodified `model_signing`, fail closed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.helpers.releases import release
from zoo.errors import CannotCheck, UsageError, WrongContent
from zoo.publishing import signing
from zoo.publishing.release import digests_of, with_signature
from zoo.publishing.targets import FolderTarget

DIGESTS = {"README.md": "0" * 64, "model.safetensors": "1" * 64}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ada.pem, ada.pub, ben.pem and ben.pub."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "ben"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / f"{name}.pem").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


def refused(signature: bytes, digests: dict[str, str], key: Path) -> str:
    with pytest.raises(WrongContent) as error_info:
        signing.verify(signature, digests, key)
    assert error_info.value.exit_code == 1
    return error_info.value.what


def test_a_signature_is_good_for_its_key_and_its_files(keys: Path) -> None:
    signing.verify(signing.sign(DIGESTS, keys / "ada.pem", "net"), DIGESTS, keys / "ada.pub")


def test_a_signature_by_another_key_is_refused(keys: Path) -> None:
    signature = signing.sign(DIGESTS, keys / "ben.pem", "net")
    assert refused(signature, DIGESTS, keys / "ada.pub") == "the signature is not by the key ada.pub"


@pytest.mark.parametrize(
    ("digests", "named"),
    [
        ({**DIGESTS, "README.md": "2" * 64}, "README.md"),
        ({**DIGESTS, "more.bin": "2" * 64}, "more.bin"),
        ({"README.md": "0" * 64}, "model.safetensors"),
    ],
)
def test_a_signature_over_other_files_is_refused_and_names_them(
    keys: Path, digests: dict[str, str], named: str
) -> None:
    signature = signing.sign(DIGESTS, keys / "ada.pem", "net")
    expected = f"the signature is by the key ada.pub, but over other files: {named}"
    assert refused(signature, digests, keys / "ada.pub") == expected


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"no JSON", b'{"dsseEnvelope": {"payload": "e30=", "signatures": []}}']
)
def test_what_is_no_signature_is_refused(keys: Path, content: bytes) -> None:
    assert refused(content, DIGESTS, keys / "ada.pub") == "the signature is not by the key ada.pub"


def test_a_signature_that_was_changed_by_one_character_is_refused(keys: Path) -> None:
    signature = signing.sign(DIGESTS, keys / "ada.pem", "net")
    at = signature.index(b'"sig"') + 12
    other = b"B" if signature[at : at + 1] == b"A" else b"A"
    assert refused(signature[:at] + other + signature[at + 1 :], DIGESTS, keys / "ada.pub").startswith(
        "the signature is not"
    )


def test_whose_signature_it_is_is_known_from_the_private_key(keys: Path) -> None:
    signature = signing.sign(DIGESTS, keys / "ada.pem", "net")
    assert signing.is_by(signature, DIGESTS, keys / "ada.pem")
    assert not signing.is_by(signature, DIGESTS, keys / "ben.pem")
    assert not signing.is_by(signature, {**DIGESTS, "README.md": "2" * 64}, keys / "ada.pem")


def test_a_file_that_holds_no_key_is_a_usage_error_with_the_way_to_make_one(keys: Path) -> None:
    with pytest.raises(UsageError, match="not an elliptic-curve private key") as error_info:
        signing.sign(DIGESTS, keys / "ada.pub", "net")
    assert "openssl ecparam" in error_info.value.hint
    with pytest.raises(UsageError, match="not an elliptic-curve public key"):
        signing.verify(b"{}", DIGESTS, keys / "ada.pem")


def test_without_the_extra_its_name_is_told(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(CannotCheck) as error_info:
        signing.sign(DIGESTS, keys / "ada.pem", "net")
    assert error_info.value.hint == "pip install 'zoo-verify[sign]'"


@pytest.mark.parametrize("tampered", [False, True])
def test_the_signature_of_a_release_folder_is_verified_by_model_signing_itself(
    keys: Path, tmp_path: Path, tampered: bool
) -> None:
    made = release()
    made = with_signature(made, signing.sign(digests_of(made.files), keys / "ada.pem", made.model))
    FolderTarget(tmp_path / "out").preflight().put(made, title="")
    if tampered:
        (tmp_path / "out" / "config.json").write_text("{}")
    line: list[str | Path] = [sys.executable, "-m", "model_signing", "verify", "key", tmp_path / "out"]
    line += ["--signature", tmp_path / "out" / "model.sig", "--public_key", keys / "ada.pub"]
    ran = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ("Verification succeeded" in ran.stdout) is not tampered, ran.stdout + ran.stderr
    assert bool(ran.returncode) is tampered
