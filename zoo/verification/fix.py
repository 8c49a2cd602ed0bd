"""A card file -> the same file with what can be mended without a choice: nothing that anybody claimed gets another meaning.

Misspelt keys and choices, digests without quotes or in capitals, URLs in wrong characters, a missing format version. What
would change a value's meaning is left to people. Comments and layout stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from zoo.errors import CannotCheck
from zoo.registry.document import Document, parse
from zoo.registry.edit import apply, prepend_line, rename_key, save
from zoo.registry.index import kind_of
from zoo.registry.position import Pointer, Problem, json_pointer
from zoo.registry.schema import FORMAT, problems
from zoo.verification.rules.addresses import repair_url, url_fault

MOST_ROUNDS = 20
"""A key that is mended may show another fault below it; a file with more faults than this needs a person."""


def fix(document: Document) -> list[str]:
    """Mend the file; a line for each thing that was done, `file:line:column: what`. Writes nothing when there is nothing."""
    changes: list[str] = []
    mended = document
    for _ in range(MOST_ROUNDS):
        step = next(_steps(mended), None)
        if step is None:
            break
        what, text = step
        changes.append(what)
        mended = parse(text, document.path, document.label)
    if changes:
        save(document, mended.text)
    return changes


def _steps(document: Document) -> Iterator[tuple[str, str]]:
    """(what, text) of each single thing that can be mended now."""
    if document.data:
        for problem in problems(document, kind_of(document.path)):
            yield from _fix_problem(document, problem)
        yield from _add_version(document)
        yield from _repair_urls(document)


def _fix_problem(document: Document, problem: Problem) -> Iterator[tuple[str, str]]:
    if problem.fix is None:
        return
    action, value = problem.fix
    try:
        if action == "rename":
            yield (
                f"{problem.place}: {problem.pointer[-1]} is now {value}",
                rename_key(document, problem.pointer, str(value)),
            )
        else:
            old_text = document.written(problem.pointer)
            yield (
                f"{problem.place}: {json_pointer(problem.pointer)}: {old_text} is now {value!r}",
                apply(document, {problem.pointer: value}),
            )
    except CannotCheck:
        return  # a layout that this cannot write into; the finding stays and says what to do


def _add_version(document: Document) -> Iterator[tuple[str, str]]:
    """A file without a format version is of the first one."""
    if "schema" not in document.data and not document.problems and FORMAT == 1:
        text = prepend_line(document, f"schema: {FORMAT}\n", {"schema": FORMAT})
        yield f"{document.place(())}: schema: {FORMAT} is written", text


def _repair_urls(document: Document) -> Iterator[tuple[str, str]]:
    for pointer, url in _urls(document):
        repaired_url = repair_url(url) if url_fault(url) else None
        if repaired_url is not None:
            try:
                text = apply(document, {pointer: repaired_url})
            except CannotCheck:
                continue
            yield f"{document.place(pointer)}: {url} is now {repaired_url}", text


def _urls(document: Document) -> Iterator[tuple[Pointer, str]]:
    weights = document.data.get("weights")
    for index, item in enumerate(weights if isinstance(weights, list) else ()):
        urls = item.get("urls") if isinstance(item, dict) else None
        for number, url in enumerate(urls if isinstance(urls, list) else ()):
            if isinstance(url, str):
                yield ("weights", index, "urls", number), url
