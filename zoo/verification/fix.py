"""A card file -> the same file with what can be mended without a choice: nothing that anybody claimed gets another meaning.

Misspelt keys and choices, digests without quotes or in capitals, URLs in wrong characters, a missing format version. What
would change a value's meaning is left to people. Comments and layout stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from zoo.errors import CannotCheck
from zoo.registry.document import Document, parse
from zoo.registry.edit import apply, headed, renamed, save
from zoo.registry.index import kind_of
from zoo.registry.position import Pointer, Problem, json_pointer
from zoo.registry.schema import FORMAT, problems
from zoo.verification.rules.addresses import fault, repaired

MOST_ROUNDS = 20
"""A key that is mended may show another fault below it; a file with more faults than this needs a person."""


def fix(document: Document) -> list[str]:
    """Mend the file; a line for each thing that was done, `file:line:column: what`. Writes nothing when there is nothing."""
    done: list[str] = []
    mended = document
    for _ in range(MOST_ROUNDS):
        step = next(_steps(mended), None)
        if step is None:
            break
        what, text = step
        done.append(what)
        mended = parse(text, document.path, document.label)
    if done:
        save(document, mended.text)
    return done


def _steps(document: Document) -> Iterator[tuple[str, str]]:
    """(what, text) of each single thing that can be mended now."""
    if document.data:
        for problem in problems(document, kind_of(document.path)):
            yield from _mended(document, problem)
        yield from _versioned(document)
        yield from _repaired(document)


def _mended(document: Document, problem: Problem) -> Iterator[tuple[str, str]]:
    if problem.fix is None:
        return
    action, value = problem.fix
    try:
        if action == "rename":
            yield (
                f"{problem.place}: {problem.pointer[-1]} is now {value}",
                renamed(document, problem.pointer, str(value)),
            )
        else:
            was = document.written(problem.pointer)
            yield (
                f"{problem.place}: {json_pointer(problem.pointer)}: {was} is now {value!r}",
                apply(document, {problem.pointer: value}),
            )
    except CannotCheck:
        return  # a layout that this cannot write into; the finding stays and says what to do


def _versioned(document: Document) -> Iterator[tuple[str, str]]:
    """A file without a format version is of the first one."""
    if "schema" not in document.data and not document.problems and FORMAT == 1:
        text = headed(document, f"schema: {FORMAT}\n", {"schema": FORMAT})
        yield f"{document.place(())}: schema: {FORMAT} is written", text


def _repaired(document: Document) -> Iterator[tuple[str, str]]:
    for pointer, url in _urls(document):
        better = repaired(url) if fault(url) else None
        if better is not None:
            try:
                text = apply(document, {pointer: better})
            except CannotCheck:
                continue
            yield f"{document.place(pointer)}: {url} is now {better}", text


def _urls(document: Document) -> Iterator[tuple[Pointer, str]]:
    weights = document.data.get("weights")
    for index, item in enumerate(weights if isinstance(weights, list) else ()):
        urls = item.get("urls") if isinstance(item, dict) else None
        for number, url in enumerate(urls if isinstance(urls, list) else ()):
            if isinstance(url, str):
                yield ("weights", index, "urls", number), url
