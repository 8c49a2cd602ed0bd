"""Headers of safetensors files that contradict the file, the format or each other: each is refused within bounds."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load, save

from tests.attacks.weights_zoo import fresh_state, verify_files
from zoo.errors import CannotCheck, WrongContent
from zoo.weights.tensors import _read_safetensors


def built(header: object, body: bytes = bytes(8), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(
    begin: int = 0, end: int = 8, shape: object = (2,), dtype: object = "F32", **more: object
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


WRONG = {
    "overlap": built({"a": entry(), "b": entry()}),
    "partial_overlap": built({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "gap": built({"a": entry(0, 8), "b": entry(16, 24)}, bytes(24)),
    "gap_at_the_start": built({"a": entry(8, 16)}, bytes(16)),
    "bytes_at_the_end": built({"a": entry()}, bytes(9)),
    "too_few_bytes": built({"a": entry()}, bytes(7)),
    "beyond_the_file": built({"a": entry(0, 1 << 40, [1 << 38])}),
    "reversed": built({"a": entry(8, 0)}),
    "negative": built({"a": entry(-8, 0)}),
    "zero_and_huge": built({"a": entry(0, 0, [0, 1 << 62, 1 << 62])}, b""),
    "more_than_64_bits": built({"a": entry(0, 0, [0, 1 << 64])}, b""),
    "many_dimensions": built({"a": entry(0, 4, [1] * 100_000)}, bytes(4)),
    "shape_of_another_size": built({"a": entry(shape=[3])}),
    "negative_shape": built({"a": entry(shape=[-2])}),
    "shape_of_true": built({"a": entry(0, 4, [True])}, bytes(4)),
    "shape_with_fractions": built({"a": entry(shape=[2.0])}),
    "shape_as_text": built({"a": entry(shape="2")}),
    "no_offsets": built({"a": {"dtype": "F32", "shape": [2]}}),
    "three_offsets": built({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}}),
    "name_twice": built(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2)),
    "field_twice": built(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "metadata_of_numbers": built({"__metadata__": {"epoch": 3}, "a": entry()}),
    "array": built([1, 2]),
    "not_utf_8": built(b'{"\xff":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "half_a_surrogate": built(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "not_a_number": built(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}'),
    "long_number": built(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}'),
    "nested": built(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "text_after": built(json.dumps({"a": entry()}).encode() + b"x"),
    "header_longer_than_the_file": built({"a": entry()}, length=1 << 62),
    "header_longer_than_the_limit": built(b'{"a":1' + b" " * 25_000_001 + b"}"),
    "half_a_byte": built({"a": entry(0, 1, [1], "F4")}, b"\x00"),
    "long_name": built({"a" * 2000: entry()}),
}
"""Files that are no safetensors, or whose tensors no architecture has."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    unread = built({"a": entry(0, 3, [4], "F6_E2M3")}, bytes(3))
    unknown = built({"a": entry(0, 2, [2], "X9")}, bytes(2))
    files = {**WRONG, "six_bits": unread, "unknown_type": unknown, "sound": save(fresh_state())}
    return verify_files(tmp_path_factory.mktemp("headers") / "zoo", files)


def test_each_header_is_wrong(found: dict[str, dict[str, Any]]) -> None:
    accepted = {
        name: (found[name]["status"], found[name]["reason"]) for name in WRONG if found[name]["status"] != "wrong"
    }
    assert accepted == {}
    assert "it has the name 'a' twice" in found["name_twice"]["reason"]


def test_types_that_torch_does_not_have_are_unknown(found: dict[str, dict[str, Any]]) -> None:
    assert [found[name]["status"] for name in ("six_bits", "unknown_type", "sound")] == ["unknown", "unknown", "ok"]
    assert "has the type F6_E2M3" in found["six_bits"]["reason"]


NUMBERS = st.integers(-2, 20) | st.sampled_from([1 << 31, 1 << 62, 1 << 63, 1 << 64])
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "X"]),
        "shape": st.lists(NUMBERS, max_size=3),
        "data_offsets": st.tuples(NUMBERS, NUMBERS),
    }
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "__metadata__"]), ENTRIES, max_size=3), st.integers(0, 24))
def test_no_file_is_accepted_that_the_library_refuses(header: dict[str, object], body_bytes: int) -> None:
    content = bytearray(built(header, bytes(body_bytes)))
    try:
        ours = _read_safetensors(memoryview(content), "net")
    except (WrongContent, CannotCheck):
        return
    try:
        theirs = load(bytes(content))
    except (SafetensorError, RuntimeError, KeyError) as error:
        raise AssertionError(f"the library refuses {header}") from error
    assert {name: (value.dtype, value.shape) for name, value in ours.items()} == {
        name: (value.dtype, value.shape) for name, value in theirs.items()
    }


def test_tensors_whose_bytes_are_not_aligned_have_their_values() -> None:
    import torch

    body = b"\x01" + struct.pack("<2f", 1.5, -2.5)
    content = built({"a": entry(0, 1, [1], "U8"), "b": entry(1, 9)}, body)
    tensors = _read_safetensors(memoryview(bytearray(content)), "net")
    assert torch.equal(tensors["b"], torch.tensor([1.5, -2.5])) and int(tensors["a"]) == 1
