"""Uploads over Xet, the client's default where hf_xet is installed, into a folder.

hf_xet takes a store's URL from the token's answer and accepts `local:///FOLDER` there (tried with hf_xet 1.8.0; not
documented). A commit then names a large file by its sha256 alone; the store's shards say which content that is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

RECORD_BYTES = 48
HAS_VERIFICATION = 1 << 31
HAS_SHA256 = 1 << 30
LAST = b"\xff" * 32
"""The shard format. Source: huggingface.co/docs/xet/shard (file info section), and the bytes of hf_xet 1.8.0."""


class XetStore:
    """The folder that hf_xet writes to, and the way back from a sha256 to bytes."""

    def __init__(self, folder: Path) -> None:
        self.url = f"local://{folder}"
        self._folder = folder

    def fetch(self, sha256: str, target: Path) -> bool:
        """Write the content with this sha256 to `target`; False when the store has none."""
        import hf_xet  # type: ignore[import-untyped]  # it has no marker of its types

        for shard in self._folder.glob("xet/xorbs/shards/*.mdb"):
            for file_sha256, file_hash, size_bytes in files_of_shard(shard.read_bytes()):
                if file_sha256 == sha256:
                    with hf_xet.XetSession().new_file_download_group(endpoint=self.url) as group:
                        group.start_download_file(hf_xet.XetFileInfo(file_hash, size_bytes), str(target))
                    return True
        return False


def files_of_shard(shard: bytes) -> Iterator[tuple[str, str, int]]:
    """sha256, Xet hash and size of each file that a shard describes.

    After one record of file header come for each file: a header (hash, flags, number of segments), the segments,
    as many verification records if so flagged, and a record with the sha256 if so flagged.
    """
    at = RECORD_BYTES
    while shard[at : at + 32] != LAST:
        file_hash = _hex(shard[at : at + 32])
        flags, count = struct.unpack_from("<II", shard, at + 32)
        segments = [at + RECORD_BYTES * number for number in range(1, count + 1)]
        size_bytes = sum(struct.unpack_from("<I", shard, segment + 36)[0] for segment in segments)
        at += RECORD_BYTES * (1 + count + (count if flags & HAS_VERIFICATION else 0))
        if flags & HAS_SHA256:
            yield _hex(shard[at : at + 32]), file_hash, size_bytes
            at += RECORD_BYTES


def _hex(digest: bytes) -> str:
    """Xet writes a hash as four little-endian 64-bit words and shows it as four numbers."""
    return "".join(digest[start : start + 8][::-1].hex() for start in range(0, 32, 8))
