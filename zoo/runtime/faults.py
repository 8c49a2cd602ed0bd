"""Turn faults of the machine into errors of zoo: a full disk, a missing library, too little memory.

They are not bugs: the message says what is missing, and what to do about it.
"""

from __future__ import annotations

import errno
import os
import re

from zoo.errors import CannotCheck

EXTRAS = {
    "PIL": "torch",
    "numpy": "torch",
    "safetensors": "torch",
    "timm": "torch",
    "torch": "torch",
    "torchvision": "torch",
    "model_signing": "sign",
    "OpenSSL": "sign",
    "pyarrow": "hf",
    "ray": "ray",
    "transformers": "transformers",
}
"""The extra of this package that installs a library, by the library's module."""
_HINTS = {
    errno.ENOSPC: "free some space, or use a folder on a larger disk",
    errno.EDQUOT: "free some space, or use a folder on a larger disk",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n), or give fewer --jobs",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs, or use a machine with more memory",
    errno.EAGAIN: "raise the limit on processes (ulimit -u), or give fewer --jobs",
}
_OF_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)
"""Errors without a file's name that come from writing to a stream or to an open file."""
_MEMORY_HINT = "raise the limit on memory, close other programs, or use a machine with more memory"


def as_error(error: BaseException) -> CannotCheck | None:
    """Return the error that explains a fault of the machine; None when it is none, and so may be a bug."""
    if isinstance(error, MemoryError):
        return CannotCheck("not enough memory", hint=_MEMORY_HINT)
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return CannotCheck("cannot start a thread: a limit on processes or memory is reached", hint=_MEMORY_HINT)
    if isinstance(error, ImportError):
        return _import_error(error)
    if isinstance(error, OSError):
        return _os_error(error)
    return None


def _os_error(error: OSError) -> CannotCheck:
    if isinstance(error, FileNotFoundError) and _is_folder_gone():
        return CannotCheck("the working folder does not exist any more", hint="cd to another folder")
    what = error.strerror or str(error) or type(error).__name__
    names = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, os.PathLike))
    ]
    what = what[:1].lower() + what[1:]
    if not names and error.errno in _OF_WRITES:
        what = f"cannot write: {what}"
    return CannotCheck(what, where=" -> ".join(names), hint=_HINTS.get(error.errno or 0, ""))


def _import_error(error: ImportError) -> CannotCheck | None:
    missing = re.match(r"No module named '([\w.]+)'", str(error))
    library = (error.name or (missing[1] if missing else "")).partition(".")[0]
    if library == "zoo":
        return None
    if library and (missing or isinstance(error, ModuleNotFoundError)):
        package = f"'zoo-verify[{EXTRAS[library]}]'" if library in EXTRAS else "--force-reinstall zoo-verify"
        return CannotCheck(f"{library} is not installed", hint=f"run `pip install {package}`")
    first_line = str(error).partition("\n")[0]
    hint = _MEMORY_HINT if "failed to map" in first_line or "memory" in first_line else f"reinstall {library or 'it'}"
    return CannotCheck(f"cannot import {library or 'a library'}: {first_line}", hint=hint)


def _is_folder_gone() -> bool:
    try:
        os.getcwd()  # noqa: PTH109  # Path.cwd() is the same call
    except OSError:
        return True
    return False
