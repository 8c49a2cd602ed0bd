"""Hashing a file and reading it into memory: what changes meanwhile is noticed, and what is no file is not waited for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.project import ROOT
from zoo.errors import CannotCheck, WrongContent
from zoo.weights import contents
from zoo.weights.contents import FileDigest, measure_file, read_measured

CONTENT = b"0123456789" * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "net.pth").write_bytes(CONTENT)
    return tmp_path / "net.pth"


def test_a_measured_file_has_its_size_digest_and_stamp(path: Path) -> None:
    measured = measure_file(path)
    assert (measured.size_bytes, measured.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert measured.stamp is not None and measured.stamp.inode == path.stat().st_ino
    assert bytes(read_measured(path, "net.pth", measured)) == CONTENT
    assert bytes(read_measured(path, "net.pth", replace(measured, stamp=None))) == CONTENT


def test_an_empty_file_is_measured_and_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    measured = measure_file(tmp_path / "empty")
    assert measured.size_bytes == 0 and bytes(read_measured(tmp_path / "empty", "empty", measured)) == b""


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "gone"])
def test_what_is_not_a_regular_file_is_not_read(kind: str, tmp_path: Path) -> None:
    path = Path("/dev/zero") if kind == "device" else tmp_path / "net.pth"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(CannotCheck, match=r"not a regular file|cannot read"):
        measure_file(path)
    with pytest.raises(CannotCheck, match=r"not a regular file|cannot read"):
        read_measured(path, "net.pth", FileDigest(1, "00", None))


def test_permissions_that_change_during_the_hash_do_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, modes = contents._digest, [0o600, 0o644]

    def digest(descriptor: int) -> str:
        result = honest(descriptor)
        if modes:
            path.chmod(modes.pop())
        return result

    monkeypatch.setattr(contents, "_digest", digest)
    assert measure_file(path).sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize("is_time_set_back", [False, True])
def test_a_write_during_the_hash_is_noticed(
    is_time_set_back: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, status = contents._digest, path.stat()

    def digest(descriptor: int) -> str:
        result = honest(descriptor)
        if path.read_bytes() == CONTENT:
            path.write_bytes(CONTENT[::-1])
            if is_time_set_back:
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return result

    monkeypatch.setattr(contents, "_digest", digest)
    if is_time_set_back:  # the bytes that are there at the end count
        assert measure_file(path).sha256 == hashlib.sha256(CONTENT[::-1]).hexdigest()
        return
    with pytest.raises(CannotCheck, match="changed while zoo was reading it"):
        measure_file(path)


def test_the_message_about_a_change_has_both_digests_and_sizes(path: Path) -> None:
    measured = measure_file(path)
    path.write_bytes(b"other")
    with pytest.raises(WrongContent) as caught:
        read_measured(path, "net.pth", measured)
    assert caught.value.what == (
        f"net.pth changed after it was measured: its sha256 was {measured.sha256}, now {hashlib.sha256(b'other').hexdigest()}"
        f" ({len(CONTENT)} bytes, now 5)"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux enforces the limit")
@pytest.mark.parametrize("kind", ["pickle", "legacy", "safetensors"])
def test_a_limit_of_memory_is_no_damage_of_the_file(kind: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "net.bin"
    state = {"a": torch.zeros(100 << 18)}  # 100 MiB
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "pickle")
    program = (
        "import resource, sys, torch, safetensors.torch\nfrom pathlib import Path\nfrom zoo.errors import CannotCheck\n"
        "from zoo.weights import store, tensors\n"
        f"path = Path({str(path)!r})\nartifact = store.Artifact(path, 'net.bin', None, *store.digest(path), 'here')\n"
        "used = int(next(line for line in open('/proc/self/status') if line.startswith('VmData')).split()[1]) * 1024\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[1]) * 2**20, -1))\n"
        "try:\n    tensors.read(artifact)\nexcept CannotCheck as error:\n    sys.exit(error.what)\n"
    )
    limits = (50, 150) if kind != "safetensors" else (50,)  # below the file; below the file and its tensors
    for limit in limits:
        ran = subprocess.run(
            [sys.executable, "-c", program, str(limit)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, "not enough memory to" in ran.stderr, "Traceback" in ran.stderr) == (1, True, False), (
            ran
        )
