"""Pickles that claim or unpack to far more than they have: each is refused before it costs memory or time."""

from __future__ import annotations

import argparse
import io
import pickle
import random
import struct
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.attacks.weights_zoo import fresh_state, saved, verify_files
from zoo.errors import WrongContent
from zoo.weights.pickles import load_pickle
from zoo.weights.zip_members import zip_members

GIB = 1 << 30


def rewritten(archive: bytes, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with other members, as Python writes them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return buffer.getvalue()


def with_pickle(archive: bytes, data: bytes) -> bytes:
    return rewritten(archive, lambda name, content: data if name.endswith("data.pkl") else content)


def patched(archive: bytes, name: str, offset: int, form: str, *values: int) -> bytes:
    """The archive with other numbers in the entry of a member in the list at its end."""
    place = archive.rindex(b"PK\x01\x02", 0, archive.rindex(name.encode()))
    return archive[: place + offset] + struct.pack(form, *values) + archive[place + offset + struct.calcsize(form) :]


def compressed_bomb() -> bytes:
    """A file of 8 MB whose only storage unpacks to 8 GiB: the same packed 16 MiB again and again."""
    block, packer, size = bytes(1 << 24), zlib.compressobj(9, zlib.DEFLATED, -15), 8 * GIB
    packed = (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * (size >> 24) + packer.flush()
    archive = saved({"fc.weight": torch.zeros(4, 32)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            if not name.endswith("data/0"):
                new.writestr(name, old.read(name))
        storage = zipfile.ZipInfo("archive/data/0")
        new.writestr(storage, packed)
        storage = new.infolist()[-1]
        storage.compress_type, storage.file_size, storage.compress_size = 8, size, len(packed)
    return buffer.getvalue()


def protocol_2(*operations: bytes) -> bytes:
    return pickle.PROTO + b"\x02" + b"".join(operations) + pickle.STOP


def text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    data = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "little", signed=True)
    return pickle.LONG1 + bytes([len(data)]) + data


def named(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def storage(elements: int, kind: str = "FloatStorage", *, legacy: bool = False) -> bytes:
    view = pickle.NONE if legacy else b""
    parts = (text("storage"), named("torch", kind), text("0"), text("cpu"), number(elements), view)
    return pickle.MARK + b"".join(parts) + pickle.TUPLE + pickle.BINPERSID


def tensor(
    elements: int, shape: tuple[int, ...], stride: tuple[int, ...], *, offset: int = 0, legacy: bool = False
) -> bytes:
    """A call of torch's function with these numbers."""
    sizes = b"".join(pickle.MARK + b"".join(map(number, each)) + pickle.TUPLE for each in (shape, stride))
    hooks = named("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = storage(elements, legacy=legacy) + number(offset) + sizes + pickle.NEWFALSE + hooks
    return named("torch._utils", "_rebuild_tensor_v2") + pickle.MARK + arguments + pickle.TUPLE + pickle.REDUCE


def state_of(*values: bytes) -> bytes:
    """A pickle of a dictionary with these values, under the names a, b, ..."""
    items = b"".join(text(chr(97 + index)) + value for index, value in enumerate(values))
    return protocol_2(pickle.EMPTY_DICT, pickle.MARK, items, pickle.SETITEMS)


def legacy_file(state: bytes, keys: bytes = pickle.EMPTY_LIST, rest: bytes = b"") -> bytes:
    """The format before torch 1.6: five pickles, then each storage's elements and bytes."""
    magic = protocol_2(number(0x1950A86A20F9469CFC6C))
    system = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, protocol=2)
    return magic + protocol_2(number(1001)) + system + state + protocol_2(keys) + rest


def overlapping(archive: bytes) -> bytes:
    """Two members of the list share the header and the bytes of one, as in David Fifield's zip bombs (bamsoftware.com)."""
    first = archive.index(b"PK\x01\x02")
    second = archive.index(b"PK\x01\x02", first + 4)
    offset = archive[first + 42 : first + 46]
    return archive[: second + 42] + offset + archive[second + 46 :]


def with_count(archive: bytes, count: int) -> bytes:
    end = archive.rindex(b"PK\x05\x06")
    return archive[: end + 8] + struct.pack("<2H", count, count) + archive[end + 12 :]


def with_count_64(archive: bytes, count: int) -> bytes:
    end = archive.rindex(b"PK\x06\x06")
    patched_end = archive[: end + 24] + struct.pack("<2Q", count, count) + archive[end + 40 :]
    return with_count(patched_end, 0xFFFF)


def with_locator(archive: bytes) -> bytes:
    """A zip64 record, which torch prefers, that names another list of members than the usual one."""
    end = archive.rindex(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 10, 10)
    return archive[:end] + record + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1) + archive[end:]


def cases() -> dict[str, tuple[bytes, str]]:
    """Return the content of each file, and some words of the reason for which it is wrong."""
    sound = saved({"a": torch.arange(4.0), "b": torch.arange(4.0)})
    pair = pickle.TUPLE2
    doubled = pickle.EMPTY_TUPLE + (pickle.BINPUT + b"\x00" + pickle.BINGET + b"\x00" + pair) * 90
    nested = pickle.EMPTY_TUPLE + pickle.TUPLE1 * 200_000
    large = pickle.EMPTY_LIST + pickle.BINPUT + b"\x00" + pickle.MARK + pickle.NONE * 500_000 + pickle.APPENDS
    again = named("builtins", "set") + pickle.BINGET + b"\x00" + pickle.TUPLE1 + pickle.REDUCE
    strings = text("x" * 4_000_000) + pickle.BINPUT + b"\x01"
    encode = named("_codecs", "encode")
    copied = encode + pickle.BINGET + b"\x01" + text("latin1") + pair + pickle.REDUCE
    return {
        "compressed": (compressed_bomb(), "is compressed, which torch.save never does"),
        "deflated": (rewritten(sound, lambda name, content: content, zipfile.ZIP_DEFLATED), "is compressed"),
        "claims_to_be_stored": (patched(rewritten(sound, lambda name, content: content, 8), "data.pkl", 10, "<H", 0), "compressed"),
        "longer_than_the_file": (patched(sound, "data/0", 20, "<2I", GIB, GIB), "a member is longer than the file"),
        "longer_than_its_pickle_says": (patched(sound, "data/0", 20, "<2I", 8, 8), "storage 0 has 8 bytes, but its tensor needs 16"),
        "unequal_sizes": (patched(sound, "data/0", 20, "<2I", 16, GIB), "is compressed"),
        "encrypted": (patched(sound, "data.pkl", 8, "<H", 1), "is encrypted"),
        "overlapping": (overlapping(sound), "its members overlap"),
        "many": (with_count_64(sound, 300_000), "300000 members, more than the limit"),
        "fewer": (with_count(sound, 1), "its list of members is damaged"),
        "zip64": (with_locator(sound), "its list of members is damaged"),
        "a_comment": (sound[:-2] + b"\x04\x00" + b"PK\x05\x06", "its list of members is damaged"),
        "without_list": (sound[:200], "its list of members is damaged"),
        "storage_of_1_tb": (with_pickle(sound, state_of(tensor(1 << 38, (4,), (1,)))), "storage 0 has 16 bytes, but its tensor needs"),
        "storage_of_nothing": (with_pickle(sound, state_of(tensor(-1, (4,), (1,)))), "its pickle is damaged"),
        "tensor_of_1_tb": (with_pickle(sound, state_of(tensor(4, (1 << 38,), (0,)))), "use them again and again"),
        "strides": (with_pickle(sound, state_of(tensor(4, (2, 2), (1 << 60, 1 << 61)))), "is not a valid weights file"),
        "offset": (with_pickle(sound, state_of(tensor(4, (4,), (1,), offset=1 << 60))), "is not a valid weights file"),
        "minus": (with_pickle(sound, state_of(tensor(4, (-4,), (1,)))), "is not a valid weights file"),
        "dimensions": (with_pickle(sound, state_of(tensor(4, (1,) * 100_000, (1,) * 100_000))), "more than 64 dimensions"),
        "legacy_storage_of_1_tb": (legacy_file(state_of(tensor(1 << 38, (4,), (1,), legacy=True))), "its tensors need 1099511627776 bytes"),
        "legacy_without_bytes": (legacy_file(state_of(tensor(4, (4,), (1,), legacy=True)), text("0") + pickle.TUPLE1), "its tensors need 16 bytes"),
        "tensor_without_values": (with_pickle(sound, state_of(named("torch", "FloatTensor") + number(1 << 40) + pickle.TUPLE1 + pickle.REDUCE)), "it calls FloatTensor"),
        "uninitialised": (with_pickle(sound, state_of(named("torch", "Tensor") + number(4) + pickle.TUPLE1 + pickle.REDUCE)), "it calls Tensor"),
        "new_storage": (with_pickle(sound, state_of(named("torch.storage", "UntypedStorage") + number(1 << 40) + pickle.TUPLE1 + pickle.NEWOBJ)), "it calls UntypedStorage"),
        "bytearray": (with_pickle(sound, state_of(named("builtins", "bytearray") + number(1 << 36) + pickle.TUPLE1 + pickle.REDUCE)), "a bytearray of a size"),
        "codec": (with_pickle(sound, state_of(encode + text("x" * 9) + text("idna") + pair + pickle.REDUCE)), "another encoding than latin1"),
        "doubled_tuples": (with_pickle(sound, protocol_2(pickle.EMPTY_DICT, doubled, pickle.NONE, pickle.SETITEM)), "too often"),
        "nested_tuples": (with_pickle(sound, protocol_2(pickle.EMPTY_DICT, nested, pickle.NONE, pickle.SETITEM)), "nested deeper than 100"),
        "one_list_again": (with_pickle(sound, protocol_2(large, pickle.MARK, again * 10_000, pickle.TUPLE)), "too often"),
        "one_text_again": (with_pickle(sound, protocol_2(strings, pickle.MARK, copied * 200_000, pickle.TUPLE)), "too often"),
        "made_by_something_else": (
            with_pickle(sound, state_of(
                named("torch._tensor", "_rebuild_from_type_v2") + pickle.MARK + named("torch", "FloatTensor")
                + named("torch", "Tensor") + number(1 << 40) + pickle.TUPLE1 + pickle.EMPTY_DICT + pickle.TUPLE + pickle.REDUCE)),
            "something else than torch's functions",
        ),
        "long_pickle": (with_pickle(sound, protocol_2(pickle.NONE * (17 << 20))), "more than 16777216 bytes"),
        "no_pickle": (rewritten(sound, lambda name, content: content).replace(b"data.pkl", b"data.txt"), "has no data.pkl"),
        "tar": (b"storages" + bytes(92) + b"0000644\x00" + bytes(400), "is not a valid weights file"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def hostile() -> dict[str, tuple[bytes, str]]:
    return cases()


@pytest.fixture(scope="module")
def found(hostile: dict[str, tuple[bytes, str]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    files = {name: content for name, (content, _) in hostile.items()}
    return verify_files(tmp_path_factory.mktemp("pickles") / "zoo", {**files, "sound": saved(fresh_state())})


def test_each_is_wrong_with_its_reason(hostile: dict[str, tuple[bytes, str]], found: dict[str, dict[str, Any]]) -> None:
    wrong = {
        name: (found[name]["status"], found[name]["reason"])
        for name, (_, words) in hostile.items()
        if found[name]["status"] != "wrong" or words not in found[name]["reason"]
    }
    assert wrong == {}
    assert found["sound"]["status"] == "ok"


@pytest.mark.parametrize("legacy", [False, True])
def test_what_training_scripts_save_is_read(legacy: bool) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 8)).sum().backward()
    optimizer.step()
    checkpoint = {
        **{"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": [0.5] * 1000},
        "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.99), size=(3, 224, 224)),
        "random": (random.getstate(), torch.get_rng_state(), 2**80),
        "values": [{1, 2}, b"abc", bytearray(b"xyz"), 1 + 2j, torch.float16, torch.Size([1, 2]), Counter("abca")],
        "more": OrderedDict(a=torch.nn.Parameter(torch.ones(2)), b=torch.zeros(0), c=torch.device("cpu")),
    }
    loaded = load_pickle(memoryview(saved(checkpoint, legacy=legacy)), "net.pth")
    assert loaded.keys() == checkpoint.keys()
    assert loaded["values"] == checkpoint["values"] and loaded["random"][0] == checkpoint["random"][0]  # type: ignore[index]  # a tuple
    assert all(torch.equal(loaded["state_dict"][name], value) for name, value in model.state_dict().items())


def test_what_torch_writes_is_found_member_by_member() -> None:
    archive = saved({f"{index}": torch.zeros(index) for index in range(100)})
    members = zip_members(memoryview(archive), "net.pth")
    with zipfile.ZipFile(io.BytesIO(archive)) as python:
        expected = {item.filename: item.file_size for item in python.infolist()}
    assert {name: member.size_bytes for name, member in members.items()} == expected
    assert len(expected) > 100
    name = next(iter(expected))
    assert archive[members[name].start :][:2] == pickle.PROTO + b"\x02"


def test_two_members_with_one_name_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        new.writestr("archive/data.pkl", b"1")
        new.writestr("archive/DATA.pkl", b"2")
    with pytest.raises(WrongContent, match="two members archive/DATA"):
        zip_members(memoryview(buffer.getvalue()), "net.pth")
