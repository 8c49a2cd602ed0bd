"""Mutate texts, bytes, JSON data and weights files, each mutation drawn from a seeded generator."""

from __future__ import annotations

import io
import json
import random
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

TOKENS = [
    *(
        "\t",
        "\0",
        "---\n",
        "&a ",
        "*a ",
        "<<: ",
        "!!python/object:x ",
        "|\n",
        "[",
        "{",
        "}",
        "]",
        "'",
        '"',
        "#",
        ": ",
        "- ",
    ),
    *("\n", "٣", "\ufeff", "1e999", ".nan", "-.inf", "0x", "\x85", "?", "%", "`", "@", "null", "true", "-1", "9" * 30),
    *(
        "../",
        "/etc/passwd",
        "x" * 300,
        "\u202e",
        "\x1b[2J",
        "::error::",
        "| a |",
        "<script>",
        "${{ x }}",
        "((a+)+)+$",
        "~",
    ),
]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**53, 2**63, 10**30, 1.5, -0.0, "", "x", "0", "\u202e", [], {}, [[]], {"a": 1}),
    *("0" * 64, "z" * 64, [0], ["x"], {"value": 1}, "2099-01-01T00:00:00Z", "../x", "\ud800"),
]


def mutated_weights(rng: random.Random, content: bytes) -> bytes:
    """Return a weights file whose header, pickle or archive is changed; often so that the rest is still readable."""
    if rng.random() < 0.2:
        return mutated_bytes(rng, content[:4096]) + content[4096:]
    if content.startswith(b"PK"):
        return _with_other_member(rng, content)
    if content[8:9] != b"{":  # a pickle without an archive
        return mutated_bytes(rng, content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for _ in range(rng.randint(1, 3)):
        header = mutated_json(rng, header)
    text = json.dumps(header, ensure_ascii=rng.random() < 0.9).encode(errors="surrogatepass")
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _with_other_member(rng: random.Random, content: bytes) -> bytes:
    """Return an archive in which a member is changed, renamed, repeated, compressed or missing."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a repeated name
        names = old.namelist()
        chosen = rng.choice([name for name in names if rng.random() < 0.1 or name.endswith(".pkl")] or names)
        for name in names:
            data, how = old.read(name), rng.randrange(8) if name == chosen else 8
            if how == 0:
                continue
            if how <= 4:
                data = mutated_bytes(rng, data)
            new.writestr(
                f"x{rng.choice(TOKENS)}{name}" if how == 5 else name,
                data,
                zipfile.ZIP_DEFLATED if how == 6 else zipfile.ZIP_STORED,
            )
            if how == 7:
                new.writestr(name, mutated_bytes(rng, data))
    return out.getvalue()


def mutated_text(rng: random.Random, content: bytes) -> bytes:
    """Return a text with pieces cut out, doubled, moved and replaced, and sometimes with changed bytes."""
    text = content.decode(errors="replace")
    for _ in range(rng.randint(1, 4)):
        start, stop = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        stop = min(stop, start + rng.choice([0, 1, 5, 40, 400]))
        piece = rng.choice([rng.choice(TOKENS), text[start:stop], text[start:stop] * 3, "", str(rng.choice(VALUES))])
        text = text[:start] + piece + text[rng.choice([start, stop]) :]
    data = text[:100_000].encode(errors="replace")
    return mutated_bytes(rng, data) if rng.random() < 0.1 else data


def mutated_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return a copy of the bytes with some of them changed, inserted, cut out or repeated."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 8, 64])
        match rng.randrange(6):
            case 0 if place < len(data):
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place:place] = rng.randbytes(length)
            case 2:
                del data[place : place + length]
            case 3:
                data[place:place] = data[place : place + length] * rng.choice([1, 100])
            case 4:
                data[place : place + length] = rng.choice([b"\0", b"\xff", b"9", b"-", b'"', b"[", b"{"]) * length
            case _:
                del data[place:]
    return bytes(data)


def mutated_json(rng: random.Random, data: Any) -> Any:
    """Return JSON data with a value or a key somewhere in it replaced, removed or doubled."""
    data = json.loads(json.dumps(data))
    places = list(_places(data))
    if not places or rng.random() < 0.05:
        return rng.choice(VALUES)
    parent, key = rng.choice(places)
    match rng.randrange(4):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[rng.choice(["x", "", "value", "\ud800"])] = parent.pop(key)
        case 2 if isinstance(parent[key], (int, float)):
            parent[key] = rng.choice(
                [parent[key] + 1, -parent[key], parent[key] * 2, str(parent[key]), float(parent[key])]
            )
        case _:
            parent[key] = rng.choice(VALUES)
    return data


def other_number(rng: random.Random, data: Any) -> Any:
    """Return JSON data in which one number is another one of the same form, or the data as it is."""
    places = [(parent, key) for parent, key in _places(data) if type(parent[key]) in (int, float)]
    if places:
        parent, key = rng.choice(places[:8])
        parent[key] += rng.choice([1, 8, 100])
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container in the data with each key or position in it."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield data, key
        yield from _places(value)
