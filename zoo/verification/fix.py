"""Fix the mistakes in a card file that have only one correction: `zoo validate --fix`.

These are misspelt keys and values, digests without quotes or in capitals, wrong characters in URLs, a missing `schema`.
A correction never changes the meaning of a claim, and comments and layout stay.
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
"""The most corrections in one file. Each may uncover another mistake; a file with more mistakes needs manual work."""


def fix(document: Document) -> list[str]:
    """Fix the file, and return a line for each change, `file:line:column: what`. Write nothing when nothing changes."""
    changes: list[str] = []
    fixed = document
    for _ in range(MOST_ROUNDS):
        step = next(_steps(fixed), None)
        if step is None:
            break
        what, text = step
        changes.append(what)
        fixed = parse(text, document.path, document.label)
    if changes:
        save(document, fixed.text)
    return changes


def _steps(document: Document) -> Iterator[tuple[str, str]]:
    """Yield (what, text) for each single correction that is possible now: the line about it and the file's new text."""
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
                f"{problem.place}: renamed {problem.pointer[-1]} to {value}",
                rename_key(document, problem.pointer, str(value)),
            )
        else:
            old_text = document.written(problem.pointer)
            yield (
                f"{problem.place}: changed {json_pointer(problem.pointer)} from {old_text} to {value}",
                apply(document, {problem.pointer: value}),
            )
    except CannotCheck:
        return  # the layout does not allow the edit; the finding stays, with its hint


def _add_version(document: Document) -> Iterator[tuple[str, str]]:
    """Yield the addition of `schema: 1` to a file without a format version, which has the first one."""
    if "schema" not in document.data and not document.problems and FORMAT == 1:
        text = prepend_line(document, f"schema: {FORMAT}\n", {"schema": FORMAT})
        yield f"{document.place(())}: added schema: {FORMAT}", text


def _repair_urls(document: Document) -> Iterator[tuple[str, str]]:
    for pointer, url in _urls(document):
        repaired_url = repair_url(url) if url_fault(url) else None
        if repaired_url is not None:
            try:
                text = apply(document, {pointer: repaired_url})
            except CannotCheck:
                continue
            yield f"{document.place(pointer)}: changed {url} to {repaired_url}", text


def _urls(document: Document) -> Iterator[tuple[Pointer, str]]:
    weights = document.data.get("weights")
    for index, item in enumerate(weights if isinstance(weights, list) else ()):
        urls = item.get("urls") if isinstance(item, dict) else None
        for number, url in enumerate(urls if isinstance(urls, list) else ()):
            if isinstance(url, str):
                yield ("weights", index, "urls", number), url
