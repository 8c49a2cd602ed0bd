"""An ordinary fault of the machine is a sentence and exit 2 or 3, never a traceback and never a wrong verdict."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.project import ROOT, Ran, RunZoo
from zoo.runtime import faults

MODEL = "resnest_digits"
QUICK = ("verify", MODEL, "--check", "schema,consistency")
MAX_SECONDS = 100
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")


def shell(script: str, *, cwd: Path = ROOT, before: Callable[[], object] | None = None, **variables: str) -> Ran:
    """Run a script in which `zoo` is the command line, in a process of its own without a terminal."""
    process = subprocess.run(
        ["bash", "-c", f'zoo() {{ "{sys.executable}" -m zoo "$@"; }}; {script}'],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=MAX_SECONDS,
        preexec_fn=before,
        check=False,
    )
    assert "Traceback" not in process.stderr and "this is a bug" not in process.stderr + process.stdout, process.stderr
    return Ran(process.returncode, process.stdout, process.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "list",
        f"show {MODEL}",
        "validate --all",
        "validate --all --format json",
        f"export {MODEL} --format hf",
        "cache path",
        "verify --help",
        " ".join(QUICK),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_below_stdout_is_said_on_stderr(arguments: str, unbuffered: str) -> None:
    ran = shell(f"zoo {arguments} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert ran.code == 3
    assert ran.err.startswith("zoo: cannot write") and "no space left on device" in ran.err


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("zoo list >&-", 3),
        ("zoo list <&-", 0),
        ("zoo list 2>&-", 0),
        ("zoo list <&- 2>&-", 0),
        ("zoo list <&- >&- 2>&-", 3),
        ("zoo lst 2>&-", 2),
        ("zoo lst 2>/dev/full", 2),
        ("zoo lst >/dev/full 2>/dev/full", 2),
        ("zoo list >/dev/full 2>/dev/full", 3),
        (f"zoo show nosuch-{MODEL} 2>/dev/full", 2),
        ("zoo list 2>&1 | head -c 1; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_streams_that_are_closed_or_full(script: str, code: int) -> None:
    assert shell(script).code == code


def test_a_closed_stream_never_gets_the_number_of_a_file(tmp_path: Path) -> None:
    """Without stderr, the next file that is opened would be descriptor 2, and a library's message would go into it."""
    program = (
        "from zoo.runtime import streams; streams.open_closed(); import os;"
        f"file = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY); assert file > 2, file;"
        "os.write(2, b'a message of a library')"
    )
    ran = shell(f'"{sys.executable}" -c "{program}" <&- >&- 2>&-')
    assert (ran.code, (tmp_path / "file").read_bytes()) == (0, b"")


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """Arguments that verify two cards with nothing to measure, whose reports are kept."""
    cards = tmp_path / "cards"
    cards.mkdir()
    for name in ("a", "b"):
        (cards / f"{name}.yaml").write_text(f"name: {name}\n")
    return f"verify a b --cards {cards}"


@pytest.mark.parametrize(
    ("home", "what"),
    [
        ("file", "Not a directory"),
        ("file/below", "Not a directory"),
        ("link", "Too many levels of symbolic links"),
        ("missing/a/b", ""),
    ],
)
def test_a_home_that_cannot_be_written_is_said_once(home: str, what: str, bare: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("link")
    ran = shell(f"zoo {bare}", ZOO_HOME=str(tmp_path / home))
    assert ran.code == 0 and ran.out.startswith("a  ")
    assert ran.err.count("nothing of this run is kept") == (1 if what else 0) and what in ran.err


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system in memory with these options."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount a file system here: {done.stderr.decode()}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


@is_root
def test_a_read_only_home(mounted: Callable[[str], Path]) -> None:
    folder = mounted("ro,size=1m")
    script = f"zoo {' '.join(QUICK)}; zoo cache prune; zoo list; zoo verify {MODEL} --check params"
    ran = shell(script, ZOO_HOME=str(folder / "home"))
    assert ran.code == 0
    assert ran.err.count("Read-only file system; nothing of this run is kept") == 1
    ran = shell("zoo fetch resnest50d", ZOO_HOME=str(folder / "home"))
    assert ran.code == 3 and "cannot write: Read-only file system" in ran.err
    ran = shell(f"zoo {' '.join(QUICK)} --report {folder}/report.json")
    assert ran.code == 2 and "is not writable" in ran.err


@is_root
def test_a_home_and_a_report_on_a_full_disk(mounted: Callable[[str], Path], bare: str) -> None:
    folder = mounted("size=16k")
    with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    ran = shell(f"zoo {bare}", ZOO_HOME=str(folder / "home"))
    assert ran.code == 0 and "No space left on device; nothing of this run is kept" in ran.err
    ran = shell(f"zoo {' '.join(QUICK)} --report {folder}/report.json")
    assert ran.code == 3 and "cannot write the report: No space left on device" in ran.err
    assert [path.name for path in folder.iterdir() if path.is_file() and path.stat().st_size] == ["filler"]
    ran = shell(f"zoo list --format json > {folder}/list.json")
    assert ran.code == 3 and "cannot write" in ran.err


def test_a_limit_on_the_size_of_files(bare: str, tmp_path: Path) -> None:
    ran = shell(
        f"zoo {bare}",
        ZOO_HOME=str(tmp_path / "home"),
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512)),
    )
    assert ran.code == 0 and "File too large; nothing of this run is kept" in ran.err


AS_ANOTHER_USER = """
import contextlib, io, os, sys
import zoo_cli
def run(*arguments):
    sys.argv = ["zoo", *arguments]
    try:
        zoo_cli.main()
    except SystemExit as stop:
        return stop.code
arguments, home = sys.argv[2:], os.environ["ZOO_HOME"]
os.environ["ZOO_HOME"] = sys.argv[1]  # imports everything, which only root may read
with contextlib.redirect_stdout(io.StringIO()):
    run(*arguments)
os.environ["ZOO_HOME"] = home
os.setgid(65534); os.setuid(65534)
sys.exit(run(*arguments))
"""


@is_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_home_of_another_user(mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "a.yaml").write_text("name: a\n")
        arguments = f"verify a --cards {folder}"
        shell(f"zoo {arguments}", ZOO_HOME=str(folder / "home"))
        (folder / "home").chmod(mode)
        (folder / "program.py").write_text(AS_ANOTHER_USER)
        script = f'"{sys.executable}" {folder}/program.py {folder}/warm {arguments}'
        ran = shell(script, ZOO_HOME=str(folder / "home"))
        assert ran.code == 0 and ran.out.startswith("a  ")
        assert ran.err.count("Permission denied; nothing of this run is kept") == 1


@pytest.mark.parametrize(
    ("report", "message"),
    [("nofolder/report.json", "is not a folder"), ("", "is a directory"), ("file/report.json", "is not a folder")],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    report: str, message: str, tmp_path: Path, run_zoo: RunZoo
) -> None:
    (tmp_path / "file").write_text("")
    ran = run_zoo("verify", MODEL, "--report", tmp_path / report)
    assert (ran.code, ran.out) == (2, "") and message in ran.err


def test_a_report_on_a_full_device_never_hides_that_something_is_wrong(tmp_path: Path, run_zoo: RunZoo) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nnosuch: 1\n")
    assert run_zoo("verify", "a", "--cards", tmp_path, "--report", "/dev/full").code == 1
    (tmp_path / "a.yaml").write_text("name: a\n")
    ran = run_zoo("verify", "a", "--cards", tmp_path, "--check", "schema", "--report", "/dev/full")
    assert ran.code == 3 and "cannot write the report: No space left on device" in ran.err


@pytest.mark.parametrize("command", ["list", f"show {MODEL}", "validate --all", " ".join(QUICK), "cache list"])
def test_a_working_folder_that_is_gone(command: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = shell(f"cd {gone}; rmdir {gone}; zoo {command}")
    assert ran.code in (0, 3)
    assert ran.code == 0 or ran.err.startswith("zoo: the working folder does not exist any more\n")


@pytest.mark.parametrize("home", ["~nosuchuser", "~nosuchuser/x"])
@pytest.mark.parametrize("command", [" ".join(QUICK), "cache path", "cache list", f"fetch {MODEL}"])
def test_a_home_of_an_unknown_user(home: str, command: str) -> None:
    ran = shell(f"zoo {command}", ZOO_HOME=home)
    assert ran.code == 2 and "there is no home folder ~nosuchuser" in ran.err


def test_a_user_without_a_home_folder_is_told_to_set_one(monkeypatch: pytest.MonkeyPatch, run_zoo: RunZoo) -> None:
    """As in a container whose user has no line in /etc/passwd: `~` stays as it is."""
    monkeypatch.delenv("ZOO_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~/.cache") / name)
    ran = run_zoo("cache", "path")
    assert ran.code == 2 and "HOME is not set" in ran.err


NUMBERS = [
    *(f"verify {MODEL} --max-age {value}" for value in ("nan", "inf", "-inf", "-1", "0", "1e999", "x")),
    *(f"verify {MODEL} --limit {value}" for value in ("0", "-1", "nan", "9" * 30, "9" * 5000)),
    *(f"verify {MODEL} --seed {value}" for value in ("nan", "9" * 30, "-" + "9" * 30, "9" * 5000)),
    *(f"verify {MODEL} --batch-size {value}" for value in ("0", "65537", "9" * 30)),
    *(f"verify {MODEL} --jobs {value}" for value in ("0", "1025", "9" * 30)),
    *(f"verify {MODEL} --shard {value}" for value in ("0/0", "1/0", "²/²", "٣/٣", "1/2/3", "9/1", "/", "nan/nan")),
    *(f"flops {MODEL} --input {value}" for value in ("²x²x²", "3x0x3", "3x99999x99999", "3x4", f"3x{'9' * 30}x3")),
    *(f"flops {MODEL} --depth {value}" for value in ("0", "9" * 30)),
    *(f"flops {MODEL} --explain {value}" for value in ("0", "9" * 30, "nan")),
    *(f"cache prune --older-than {value}" for value in ("nan", "9" * 400 + "d", "-1d", "٣d")),
    *(f"cache prune --max-size {value}" for value in ("nan", "9" * 400 + "GB", "-1", "1e9")),
    *(f"publish {MODEL} --to folder:/nonexistent/x --max-age {value}" for value in ("nan", "inf", "-1")),
    *(f"fetch {MODEL} --stall {value}" for value in ("nan", "inf", "0")),
    *(f"fetch {MODEL} --jobs {value}" for value in ("0", "9" * 30)),
]


@pytest.mark.parametrize("arguments", NUMBERS, ids=lambda text: text[:60])
def test_a_number_that_is_none_or_too_large_is_a_usage_error(arguments: str, run_zoo: RunZoo) -> None:
    ran = run_zoo(*arguments.split())
    assert (ran.code, ran.out) == (2, "")
    assert "Error: " in ran.err or ran.err.startswith("zoo: ")


BLOCKER = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize(
    ("blocked", "arguments", "code", "message"),
    [
        ("torch", "list", 0, ""),
        ("torch", "validate --all", 0, ""),
        ("torch", f"fetch {MODEL}", 0, ""),
        ("torch", f"verify {MODEL} --check build", 3, "pip install 'zoo-verify[torch]'"),
        ("torch", f"flops {MODEL}", 3, "zoo: torch is not installed\n  hint: run `pip install 'zoo-verify[torch]'`"),
        ("timm", f"verify {MODEL} --check params", 3, "pip install 'zoo-verify[torch]'"),
        ("numpy", f"verify {MODEL} --check accuracy", 3, "pip install 'zoo-verify[torch]'"),
        ("ray", f"verify {MODEL} resnest_fashion --engine ray --check schema", 3, "pip install 'zoo-verify[ray]'"),
        ("huggingface_hub", f"publish {MODEL} --to hf:lab/net", 3, "huggingface_hub is not installed"),
        ("jsonschema_rs", "list", 3, "jsonschema_rs is not installed"),
        ("yaml", "list", 3, "yaml is not installed"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    blocked: str, arguments: str, code: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    ran = shell(f"zoo {arguments}", PYTHONPATH=f"{tmp_path}:{ROOT}", BLOCKED=blocked, ZOO_HOME=str(tmp_path / "home"))
    assert ran.code == code and message in ran.out + ran.err


@pytest.mark.parametrize("megabytes", [150, 600, 2500])
def test_a_limit_on_memory_is_a_finding(megabytes: int, tmp_path: Path) -> None:
    ran = shell(f"ulimit -v {megabytes * 1000}; zoo verify {MODEL} --check build", ZOO_HOME=str(tmp_path))
    assert ran.code == 3 and "unknown" in ran.out


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc"])
def test_a_folder_for_temporary_files_that_is_none(folder: str, tmp_path: Path) -> None:
    ran = shell(f"zoo verify {MODEL} --check build", TMPDIR=folder, ZOO_HOME=str(tmp_path))
    assert ran.code in (0, 3)


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=str,
)
def test_names_that_the_locale_cannot_write(variables: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "größe"
    folder.mkdir()
    (folder / "ü.yaml").write_text("name: x\nalias: é\n", encoding="utf-8")
    (folder / "y.yaml").write_text('name: y\ncollection: "ключ"\n', encoding="utf-8")
    shutil.copy(ROOT / "cards" / "digits" / f"{MODEL}.yaml", os.fsdecode(os.fsencode(folder) + b"/\xff.yaml"))
    for command, code in (("list", 0), ("validate --all", 1), ("validate --all --format json", 1)):
        settings = " ".join(f"{name}={value}" for name, value in variables.items())
        assert shell(f"export {settings}; zoo {command} --cards {tmp_path}").code == code


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "/x/y: no space left on device\n  hint: free some"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files\n  hint: raise the limit on open files"),
        (PermissionError(errno.EACCES, "Permission denied", b"/x"), "/x: permission denied"),
        (MemoryError(), "not enough memory\n  hint: "),
        (RuntimeError("can't start new thread"), "cannot start a thread: a limit on processes or memory is reached"),
        (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow.lib"), "run `pip install 'zoo-verify[hf]'`"),
        (ImportError("No module named 'torch.nn'"), "torch is not installed"),
        (ImportError("libx.so: failed to map segment from shared object", name="torch"), "raise the limit on memory"),
        (ImportError("cannot import name 'a' from 'timm'", name="timm"), "cannot import timm: cannot import name 'a'"),
    ],
)
def test_a_fault_of_the_machine_has_a_sentence(error: Exception, message: str) -> None:
    assert message in str(faults.as_error(error))


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), RecursionError(), KeyError("x"), AssertionError()]
)
def test_a_bug_is_not_explained_away(error: Exception) -> None:
    assert faults.as_error(error) is None
    assert faults.as_error(ModuleNotFoundError("No module named 'zoo.x'", name="zoo.x")) is None
