"""Load a pickle that torch.save wrote, without executing any code, after refusing what could exhaust the machine.

torch.load with `weights_only` runs no code, but it trusts sizes: of compressed members, of storages, of arguments. So this
module reads the pickle first, as torch's restricted unpickler does (torch/_weights_only_unpickler.py, 2.14.1, seen
2026-11-28), but builds nothing: it follows only what the numbers mean.

There are two formats: a zip file with the pickle and one member for each storage (torch 1.6 and later), and pickles that
are followed by the storages.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.errors import CannotCheck, WrongContent
from zoo.runtime.limits import is_out_of_memory
from zoo.weights.zip_members import SIGNATURE, ZipMember, zip_members

MAX_PICKLE_BYTES = 16 << 20
"""A state dict has about 200 bytes for each tensor; a training script's may have lists of numbers."""
MAX_DEPTH = 100
"""The deepest nesting of tuples: Python computes their hash, and compares them, recursively in C."""
LEGACY_PICKLES = 5
"""Before the storages: magic number, version, the machine's byte order, the state dict, and the storages' keys."""
ELEMENT_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    "ComplexDouble": 16, "ComplexFloat": 8, "QInt32": 4, "QInt8": 1, "QUInt8": 1, "QUInt4x2": 1, "QUInt2x4": 1, "Untyped": 1,
}  # fmt: skip
"""The bytes of an element of torch's storage classes, such as `FloatStorage` (torch/storage.py)."""
WITHOUT_VALUES = ("Tensor", "Storage")
"""The ends of the names of classes that torch lets a pickle call with a size: the result has arbitrary values."""
UNSUPPORTED = {
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_wrapper_subclass": "a tensor of another class",
    "_rebuild_device_tensor_from_numpy": "a tensor of a device without storages",
}
"""torch's functions that make tensors which no card's architecture has, and what they make."""


def load_pickle(content: memoryview, file: str) -> Mapping[Any, Any]:
    """Return the mapping in a file that torch.save wrote, with tensors on the CPU that do not share memory with `content`.

    Raises WrongContent when the file is damaged, holds something else than a mapping, would execute code, or claims sizes
    that it does not have; CannotCheck when it needs more memory than there is, or has tensors that zoo does not read.
    """
    if content[:4] == SIGNATURE:
        _check_zip(content, file)
    else:
        _check_legacy(content, file)
    state = _load(content, file)
    if not isinstance(state, Mapping):
        raise WrongContent(f"{file} contains a {type(state).__name__}, not a state dict")
    return state


def _load(content: memoryview, file: str) -> Any:
    import argparse
    import warnings

    import torch

    try:
        # timm's training checkpoints hold their arguments beside the tensors; a Namespace does nothing.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an unusual pickle protocol: damaged files are reported below
            return torch.load(io.BufferedReader(_MemoryFile(content)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _would_execute(file, str(error)) from error
    except MemoryError as error:
        raise _out_of_memory(file) from error
    except _DAMAGE as error:
        if is_out_of_memory(error):
            raise _out_of_memory(file) from error
        raise _damaged(file, str(error)) from error


_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError),
    *(OverflowError, ImportError, RecursionError, struct.error),
)
"""What torch.load raises for damaged files besides UnpicklingError, as seen with flipped bytes; undocumented."""


class _MemoryFile(io.RawIOBase):
    """The bytes as a file, without a copy of them."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._position = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._content)}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, block: Any) -> int:
        data = self._content[self._position : self._position + len(block)]
        block[: len(data)] = data
        self._position += len(data)
        return len(data)


def _check_zip(content: memoryview, file: str) -> None:
    members = zip_members(content, file)
    archive = next(iter(members), "").partition("/")[0]  # as caffe2/serialize/inline_container.cc
    data = members.get(f"{archive}/data.pkl")
    if data is None:
        raise _damaged(file, "it has no data.pkl")
    if data.size_bytes > MAX_PICKLE_BYTES:
        raise _too_long(file)
    scan = _Scan(content[data.start : data.stop], file)
    scan.run()
    for key, size_bytes in scan.storages.items():
        member: ZipMember | None = members.get(f"{archive}/data/{key}")
        if member is None or member.size_bytes != size_bytes:
            has = "no bytes" if member is None else f"{member.size_bytes} bytes"
            raise _damaged(file, f"storage {key} has {has}, but its tensor needs {size_bytes}")


def _check_legacy(content: memoryview, file: str) -> None:
    position, claimed_bytes = 0, 0
    for number in range(LEGACY_PICKLES):
        if number and position == len(content):
            return  # a single pickle: torch says what is wrong with it
        scan = _Scan(content[position:], file)
        position += scan.run()
        claimed_bytes += sum(scan.storages.values())
    if claimed_bytes > len(content) - position:
        left = len(content) - position
        raise _damaged(file, f"its tensors need {claimed_bytes} bytes, but the file has {left} for them")


@dataclass(frozen=True, slots=True)
class _Global:
    """A name of a class or function that the pickle uses, such as `torch._utils._rebuild_tensor_v2`."""

    name: str


@dataclass(frozen=True, slots=True)
class _Tuple:
    items: tuple[Any, ...]
    depth: int


@dataclass(eq=False, slots=True)
class _Container:
    """A list, dictionary or set, and what was put into it."""

    items: list[Any] = field(default_factory=list)


_OTHER = object()
"""A value that does not matter here."""


class _Scan:
    """Follow the operations of a pickle without building what they describe.

    storages: the bytes that each storage needs, by its key. The work that torch's unpickler does for the arguments of
    functions and the keys of dictionaries is counted: a pickle can name the same large argument again and again.
    """

    def __init__(self, data: memoryview, file: str) -> None:
        self._data, self._file = bytes(data[:MAX_PICKLE_BYTES]), file
        self._is_cut = len(data) > MAX_PICKLE_BYTES
        self._position = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._effort = 4 * len(self._data) + 1_000_000
        self.storages: dict[Any, int] = {}

    def run(self) -> int:
        """Follow one pickle and return its length in bytes. Raises WrongContent."""
        operations = self._operations()
        try:
            while (code := self._take(1)[0]) != pickle.STOP[0]:
                operation = operations.get(code)
                if operation is None:
                    raise _would_execute(self._file, f"unsupported operation {code} in the pickle")
                operation()
        except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
            if self._is_cut and self._position > MAX_PICKLE_BYTES:
                raise _too_long(self._file) from error
            raise _damaged(self._file, "its pickle is damaged") from error
        return self._position

    def _operations(self) -> Mapping[int, Callable[[], None]]:
        push = self._stack_push
        named: dict[bytes, Callable[[], None]] = {
            pickle.PROTO: lambda: self._skip(1),
            pickle.GLOBAL: self._global,
            pickle.BINPUT: lambda: self._put(self._number("<B")),
            pickle.LONG_BINPUT: lambda: self._put(self._number("<I")),
            pickle.BINGET: lambda: push(self._memo[self._number("<B")]),
            pickle.LONG_BINGET: lambda: push(self._memo[self._number("<I")]),
            pickle.MARK: self._mark,
            pickle.TUPLE: lambda: push(self._tuple(self._pop_mark())),
            pickle.EMPTY_TUPLE: lambda: push(self._tuple([])),
            pickle.TUPLE1: lambda: push(self._tuple(self._pop(1))),
            pickle.TUPLE2: lambda: push(self._tuple(self._pop(2))),
            pickle.TUPLE3: lambda: push(self._tuple(self._pop(3))),
            pickle.EMPTY_LIST: lambda: push(_Container()),
            pickle.EMPTY_DICT: lambda: push(_Container()),
            pickle.EMPTY_SET: lambda: push(_Container()),
            pickle.NONE: lambda: push(None),
            pickle.NEWTRUE: lambda: push(True),
            pickle.NEWFALSE: lambda: push(False),
            pickle.BININT: lambda: push(self._number("<i")),
            pickle.BININT1: lambda: push(self._number("<B")),
            pickle.BININT2: lambda: push(self._number("<H")),
            pickle.LONG1: lambda: push(int.from_bytes(self._take(self._number("<B")), "little", signed=True)),
            pickle.BINFLOAT: lambda: push(self._number(">d")),
            pickle.BINUNICODE: lambda: push(str(self._take(self._number("<I")), "utf-8", "surrogatepass")),
            pickle.SHORT_BINSTRING: lambda: push(self._take(self._number("<B"))),
            pickle.BINPERSID: self._storage,
            pickle.REDUCE: self._call,
            pickle.NEWOBJ: self._call,
            pickle.BUILD: lambda: self._spend(self._pop(1)),
            pickle.APPEND: lambda: self._add(self._pop(1)),
            pickle.APPENDS: lambda: self._add(self._pop_mark()),
            pickle.SETITEM: lambda: self._set_items(self._pop(2)),
            pickle.SETITEMS: lambda: self._set_items(self._pop_mark()),
        }
        return {code[0]: operation for code, operation in named.items()}

    def _take(self, count: int) -> bytes:
        data = self._data[self._position : self._position + count]
        self._position += count
        if len(data) != count:
            raise IndexError
        return data

    def _skip(self, count: int) -> None:
        self._take(count)

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _stack_push(self, item: Any) -> None:
        self._stack.append(item)

    def _pop(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) != count:
            raise IndexError
        del self._stack[-count:]
        return items

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _global(self) -> None:
        end = self._data.index(b"\n", self._position)
        module = str(self._take(end - self._position), "utf-8")
        self._skip(1)
        end = self._data.index(b"\n", self._position)
        name = str(self._take(end - self._position), "utf-8")
        self._skip(1)
        if name in UNSUPPORTED:
            raise CannotCheck(f"{self._file} contains {UNSUPPORTED[name]}, which zoo does not read")
        self._stack.append(_Global(f"{module}.{name}"))

    def _tuple(self, items: list[Any]) -> _Tuple:
        depth = 1 + max((item.depth for item in items if isinstance(item, _Tuple)), default=0)
        if depth > MAX_DEPTH:
            raise _damaged(self._file, f"its tuples are nested deeper than {MAX_DEPTH}")
        return _Tuple(tuple(items), depth)

    def _add(self, items: list[Any]) -> None:
        self._stack[-1].items.extend(items) if isinstance(self._stack[-1], _Container) else self._stack[-1]

    def _set_items(self, pairs: list[Any]) -> None:
        self._spend([key for key in pairs[::2] if isinstance(key, _Tuple)])
        self._add(pairs)

    def _storage(self) -> None:
        """Note the bytes of a storage: ("storage", class, key, location, elements), since torch 0.1.2 with a view."""
        (reference,) = self._pop(1)
        self._stack.append(_OTHER)
        if not isinstance(reference, _Tuple) or len(reference.items) < 5 or not isinstance(reference.items[1], _Global):
            raise ValueError
        _, kind, key, _, elements = reference.items[:5]
        class_name = kind.name.rpartition(".")[2].removesuffix("Storage")
        if type(elements) is not int or elements < 0 or not isinstance(key, (str, bytes, int)):
            raise ValueError
        size_bytes = elements * ELEMENT_BYTES.get(class_name, 1)
        self.storages[key] = max(size_bytes, self.storages.get(key, 0))

    def _call(self) -> None:
        """Follow a call of what is before the arguments on the stack."""
        called, arguments = self._pop(2)
        self._stack.append(_OTHER)
        self._spend([arguments])
        given = arguments.items if isinstance(arguments, _Tuple) else ()
        if not isinstance(called, _Global):
            raise _would_execute(self._file, "the pickle calls something that is not a name")
        self._refuse_size(called, given)
        if called.name == "torch._tensor._rebuild_from_type_v2":
            made_by, inner = (given[0], given[2]) if len(given) == 4 else (None, None)
            if not isinstance(made_by, _Global) or not made_by.name.startswith("torch._utils._rebuild_"):
                raise _would_execute(self._file, "the pickle makes a tensor with something else than torch's functions")
            self._refuse_size(made_by, inner.items if isinstance(inner, _Tuple) else ())

    def _refuse_size(self, called: _Global, given: tuple[Any, ...]) -> None:
        module, _, name = called.name.rpartition(".")
        if module.partition(".")[0] == "torch" and name.endswith(WITHOUT_VALUES):
            raise _damaged(self._file, f"it calls {name}, whose result has arbitrary values")
        is_text = all(isinstance(item, (str, bytes)) for item in given)
        if name == "bytearray" and any(type(item) is int for item in given):
            raise _damaged(self._file, "it makes a bytearray of a size")
        if called.name == "_codecs.encode" and not (is_text and given[1:] in (("latin1",), ("latin-1",))):
            raise _would_execute(self._file, "the pickle encodes text in another encoding than latin1")

    def _spend(self, items: list[Any]) -> None:
        """Count the values in these, and in what they contain. Raises WrongContent when all counts are too many."""
        waiting = list(items)
        while waiting:
            item = waiting.pop()
            self._effort -= 1 + (len(item) >> 6 if isinstance(item, (str, bytes)) else 0)
            if self._effort < 0:
                raise _damaged(self._file, "its pickle uses the same values too often")
            if isinstance(item, (_Tuple, _Container)):
                waiting.extend(item.items)


def _would_execute(file: str, reason: str) -> WrongContent:
    return WrongContent(
        f"{file} cannot be loaded without executing code, which zoo never does: {_first_line(reason)}",
        hint="ask the publisher for a safetensors file, or for a file with only tensors",
    )


def _damaged(file: str, reason: str) -> WrongContent:
    return WrongContent(f"{file} is not a valid weights file: {_first_line(reason)}")


def _too_long(file: str) -> WrongContent:
    return _damaged(file, f"its pickle has more than {MAX_PICKLE_BYTES} bytes")


def _out_of_memory(file: str) -> CannotCheck:
    return CannotCheck(f"not enough memory to load {file}", hint="run it on a machine with more memory")


def _first_line(reason: str) -> str:
    return reason.partition("\n")[0][:200]
