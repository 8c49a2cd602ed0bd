"""How fast `zoo fetch` and `zoo cache verify` are beside other tools, all in one run on this machine.

    python tests/bench/fetch.py [--runs 5] [--only large,limited,many,verify,kills] [--json FILE]

The server is nginx on loopback when it is installed, else a small one of the tests'. Every tool is started as a process
and timed from start to end, in turn, so that what disturbs one disturbs the others; medians and their ratios are
printed, with the goal where there is one. zoo waits until the file is on the disk, the peers do not, but for the one
that ends in `sync`; so the large file is also fetched into memory (a tmpfs), where that wait is nothing. Peers that are not installed are left out and named: curl and openssl, aria2c, torch (torch.hub),
pooch, requests.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

LARGE_BYTES = 445_402_691
"""The size of resnest269-0cc87c48.pth."""
MANY, SMALL_BYTES = 200, 1_000_000
BYTES_PER_SECOND = 40_000_000
VERIFY_FILES, VERIFY_BYTES = 10, 500_000_000
KILLS = 50
MEMORY = Path("/dev/shm")
MIB = 1 << 20


@dataclass(frozen=True)
class Timed:
    """One run of one tool: seconds from start to end, and the peak of its memory in MiB."""

    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Line:
    """What is printed of one comparison; `ratio` is zoo's median over the peer's."""

    what: str
    peer: str
    zoo_seconds: float
    peer_seconds: float
    ratio: float
    goal: float | None


Task = tuple[Callable[[], None], Sequence[str]]


def main() -> None:
    """Run what was asked for and print it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as pip leaves what it installs: compiled, like the peers
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="large,limited,many,verify,kills")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as scratch, served(Path(scratch)) as site:
        print(
            f"server: {site.kind}; load {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores; medians of {options.runs} runs"
        )
        for name in options.only.split(","):
            lines += JOBS[name](site, options.runs)
    if options.json:
        options.json.write_text(json.dumps([asdict(line) for line in lines], indent=2) + "\n")


@dataclass(frozen=True)
class Site:
    """Where files are served from, at full speed and at BYTES_PER_SECOND for each connection."""

    kind: str
    folder: Path
    scratch: Path
    port: int
    limited_port: int

    def url(self, name: str, *, limited: bool = False) -> str:
        """The address of a file."""
        return f"http://127.0.0.1:{self.limited_port if limited else self.port}/{name}"

    def file(self, name: str, size_bytes: int) -> str:
        """Make a file of random bytes; its sha256."""
        seen, path = hashlib.sha256(), self.folder / name
        with path.open("wb") as file:
            for start in range(0, size_bytes, 8 * MIB):
                block = os.urandom(min(8 * MIB, size_bytes - start))
                seen.update(block)
                file.write(block)
        return seen.hexdigest()

    def card(self, cards: Path, name: str, size_bytes: int, sha256: str, url: str) -> None:
        """Write a card of one file."""
        weights = {"file": f"{name}.pth", "size_bytes": size_bytes, "sha256": sha256, "urls": [url]}
        cards.mkdir(parents=True, exist_ok=True)
        (cards / f"{name}.yaml").write_text(json.dumps({"schema": 1, "name": name, "weights": [weights]}))


@contextmanager
def served(scratch: Path) -> Iterator[Site]:
    """A server of the files below `scratch/www`, until the end."""
    folder = scratch / "www"
    folder.mkdir()
    ports = free_ports(2)
    if not shutil.which("nginx"):
        with python_server(folder, ports, scratch) as site:
            yield site
        return
    (scratch / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {scratch}/pid; error_log {scratch}/error.log; events {{}}\n"
        "http { access_log off; sendfile on; keepalive_requests 100000; client_body_temp_path "
        f"{scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi; uwsgi_temp_path "
        f"{scratch}/uwsgi; scgi_temp_path {scratch}/scgi;\n"
        f" server {{ listen 127.0.0.1:{ports[0]}; root {folder}; }}\n"
        f" server {{ listen 127.0.0.1:{ports[1]}; root {folder}; limit_rate {BYTES_PER_SECOND}; }} }}\n"
    )
    if os.geteuid() == 0:  # nginx serves as another user then
        for path in (scratch, folder):
            path.chmod(0o755)
    process = subprocess.Popen(["nginx", "-e", f"{scratch}/error.log", "-c", f"{scratch}/nginx.conf"])
    try:
        wait_until_listening(ports)
        yield Site("nginx", folder, scratch, *ports)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def python_server(folder: Path, ports: Sequence[int], scratch: Path) -> Iterator[Site]:
    """The tests' server, for machines without nginx."""
    from tests.servers.fault_server import FaultServer, good

    class Files(dict[str, object]):
        def get(self, path: str, default: object = None) -> object:
            file = folder / path.lstrip("/")
            return good(file.read_bytes()) if file.is_file() else default

    with FaultServer() as fast, FaultServer(bytes_per_second=BYTES_PER_SECOND) as limited:
        fast.site = limited.site = Files()  # type: ignore[assignment]  # looks files up when they are asked for
        yield Site("the tests' own (no nginx)", folder, scratch, fast.port, limited.port)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until_listening(ports: Sequence[int]) -> None:
    """Ask until each port answers; raises OSError after 10 s."""
    import socket

    until = time.monotonic() + 10
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> Timed:
    """Run a command to its end. Raises RuntimeError with what it said when it failed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}, cwd=ROOT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"{command[:4]}: {output.read()[-2000:].decode(errors='replace')}")
    return Timed(seconds, usage.ru_maxrss / (1024 if sys.platform == "linux" else MIB))


def zoo(*arguments: str) -> list[str]:
    """The command line of zoo as it is here."""
    return [sys.executable, str(ROOT / "zoo_cli.py"), *arguments]


def compare(
    what: str, tasks: dict[str, Task], runs: int, goals: dict[str, float], environment: dict[str, str]
) -> list[Line]:
    """Run all tools in turn, `runs` times after one that does not count; print medians and ratios."""
    times: dict[str, list[Timed]] = {name: [] for name in tasks}
    for number in range(runs + 1):
        for name, (prepare, command) in tasks.items():
            prepare()
            timed = run(command, environment)
            if number:
                times[name].append(timed)
    medians = {name: statistics.median(one.seconds for one in many) for name, many in times.items()}
    print(f"\n{what}")
    lines = []
    for name, many in times.items():
        spread = f"{min(one.seconds for one in many):.2f} to {max(one.seconds for one in many):.2f}"
        peak = max(one.peak_mib for one in many)
        ratio, goal = medians["zoo"] / medians[name], goals.get(name)
        note = "" if name == "zoo" else f"zoo is {ratio:.2f} of it" + (f" (goal {goal})" if goal else "")
        print(f"  {name:22} {medians[name]:7.2f} s  ({spread})  {peak:6.0f} MiB  {note}")
        if name != "zoo":
            lines.append(Line(what, name, medians["zoo"], medians[name], ratio, goal))
    return lines


def large(site: Site, runs: int) -> list[Line]:
    """One large file as fast as loopback goes, with its sha256: onto the disk, and into memory."""
    sha256 = site.file("large.pth", LARGE_BYTES)
    url = site.url("large.pth")
    site.card(site.scratch / "cards", "large", LARGE_BYTES, sha256, url)
    tasks = by_hand(site, site.scratch) | by_libraries(site.scratch, url, sha256)
    goals = {"curl, openssl": 0.85, "requests loop": 1.0, "torch.hub": 1.0, "pooch": 1.0}
    environment = {"ZOO_HOME": str(site.scratch / "home")}
    lines = compare(f"{LARGE_BYTES} bytes from loopback", tasks, runs, goals, environment)
    tasks["zoo"][0]()
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < 4 * LARGE_BYTES:
        print(f"{MEMORY} has no room and is left out")
        return lines
    with tempfile.TemporaryDirectory(prefix="zoo-bench-", dir=MEMORY) as folder:
        environment = {"ZOO_HOME": f"{folder}/home"}
        return lines + compare("the same into memory", by_hand(site, Path(folder)), runs, goals, environment)


def by_hand(site: Site, folder: Path) -> dict[str, Task]:
    """zoo, and what people type instead, with files in that folder."""
    url, target = site.url("large.pth"), folder / "target.pth"
    clean = cleaner(target, folder / "home")
    tasks: dict[str, Task] = {"zoo": (clean, zoo("fetch", "large", "--cards", str(site.scratch / "cards")))}
    if shutil.which("curl") and shutil.which("openssl"):
        script = f"curl -sf -o {target} {url} && openssl dgst -sha256 {target}"
        tasks["curl, openssl"] = (clean, ["sh", "-c", script])
        tasks["curl, openssl, sync"] = (clean, ["sh", "-c", f"{script} && sync {target}"])
    return tasks


def by_libraries(folder: Path, url: str, sha256: str) -> dict[str, Task]:
    """What people import instead."""
    target = folder / "target.pth"
    clean = cleaner(target, folder / "home")
    loop = (
        "import hashlib, requests, sys\nh = hashlib.sha256()\n"
        "with requests.get(sys.argv[1], stream=True) as r, open(sys.argv[2], 'wb') as f:\n"
        "    for block in r.iter_content(1 << 20):\n        h.update(block); f.write(block)\n"
        "assert h.hexdigest() == sys.argv[3]\n"
    )
    tasks: dict[str, Task] = {"requests loop": (clean, [sys.executable, "-c", loop, url, str(target), sha256])}
    if has("torch"):
        hub = "import sys, torch.hub; torch.hub.download_url_to_file(*sys.argv[1:3], hash_prefix=sys.argv[3], progress=False)"
        tasks["torch.hub"] = (clean, [sys.executable, "-c", hub, url, str(target), sha256[:8]])
    if has("pooch"):
        code = "import sys, pooch; pooch.retrieve(sys.argv[1], 'sha256:' + sys.argv[3], fname='t', path=sys.argv[2])"
        tasks["pooch"] = (clean, [sys.executable, "-c", code, url, str(folder / "pooch"), sha256])
    return tasks


def limited(site: Site, runs: int) -> list[Line]:
    """The same file where the server gives each connection so much and no more."""
    sha256 = site.file("large.pth", LARGE_BYTES)
    url, target, home = site.url("large.pth", limited=True), site.scratch / "target.pth", site.scratch / "home"
    site.card(site.scratch / "limited", "large", LARGE_BYTES, sha256, url)
    clean = cleaner(target, home)
    command = zoo("fetch", "large", "--connections", "8", "--cards", str(site.scratch / "limited"))
    tasks: dict[str, Task] = {"zoo": (clean, command)}
    if shutil.which("aria2c"):
        aria = [
            "aria2c",
            "-q",
            "-x8",
            "-s8",
            f"--checksum=sha-256={sha256}",
            "-d",
            str(site.scratch),
            "-o",
            "target.pth",
            url,
        ]
        tasks["aria2c -x8 -s8"] = (clean, aria)
    what = f"{LARGE_BYTES} bytes at {BYTES_PER_SECOND // 10**6} MB/s a connection"
    lines = compare(what, tasks, runs, {"aria2c -x8 -s8": 0.9}, {"ZOO_HOME": str(home)})
    clean()
    return lines


def many(site: Site, runs: int) -> list[Line]:
    """Many small files, each with its sha256."""
    cards, target, home, listed = site.scratch / "many", site.scratch / "small", site.scratch / "home", []
    for number in range(MANY):
        name = f"small-{number:03}"
        sha256 = site.file(f"{name}.pth", SMALL_BYTES)
        site.card(cards, name, SMALL_BYTES, sha256, site.url(f"{name}.pth"))
        listed.append(f"{site.url(f'{name}.pth')}\n  checksum=sha-256={sha256}\n  out={name}.pth\n")
    (site.scratch / "list").write_text("".join(listed))
    clean = cleaner(target, home)
    tasks: dict[str, Task] = {"zoo": (clean, zoo("fetch", "--all", "--jobs", "8", "--cards", str(cards)))}
    if shutil.which("aria2c"):
        tasks["aria2c -j8 -i"] = (clean, ["aria2c", "-q", "-j8", "-i", str(site.scratch / "list"), "-d", str(target)])
    lines = compare(
        f"{MANY} files of {SMALL_BYTES} bytes", tasks, runs, {"aria2c -j8 -i": 1.2}, {"ZOO_HOME": str(home)}
    )
    clean()
    return lines


def verify(site: Site, runs: int) -> list[Line]:
    """Reading again what the store holds."""
    home = site.scratch / "verify"
    names = []
    for number in range(VERIFY_FILES):
        sha256 = site.file(f"blob-{number}", VERIFY_BYTES)
        place = home / "blobs" / sha256 / f"{number}.pth"
        place.parent.mkdir(parents=True)
        (site.folder / f"blob-{number}").replace(place)
        names.append(str(place))
    tasks: dict[str, Task] = {"zoo": (lambda: None, zoo("cache", "verify", "--jobs", "2"))}
    if shutil.which("openssl"):
        tasks["openssl dgst"] = (lambda: None, ["openssl", "dgst", "-sha256", *names])
    what = f"verify {VERIFY_FILES * VERIFY_BYTES} bytes in {VERIFY_FILES} files"
    lines = compare(what, tasks, runs, {"openssl dgst": 0.6}, {"ZOO_HOME": str(home)})
    shutil.rmtree(home)
    return lines


def kills(site: Site, runs: int) -> list[Line]:
    """Runs killed at random moments, then one that completes: right each time, and how many bytes were served."""
    from tests.helpers.fetching import noise
    from tests.servers.fault_server import FaultServer, good

    content, dice, worst = noise(32 * MIB, seed=9), random.Random(9), 0.0
    right = hashlib.sha256(content).hexdigest()
    for number in range(KILLS):
        with FaultServer(bytes_per_second=BYTES_PER_SECOND) as server:
            server.site["/killed.pth"] = good(content)
            cards, home = site.scratch / "killed", site.scratch / "home"
            shutil.rmtree(home, ignore_errors=True)
            site.card(cards, "killed", len(content), right, server.url("/killed.pth"))
            command = zoo("fetch", "killed", "--connections", str(1 + number % 3), "--cards", str(cards))
            environment = {**os.environ, "ZOO_HOME": str(home)}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            watch = threading.Timer(120, process.kill)
            watch.start()
            server.wait_for_bytes(int(dice.uniform(0.01, 0.95) * len(content)))
            process.kill()
            process.wait()
            watch.cancel()
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"run {number}: {done.stderr}")
            path = Path(done.stdout.strip())
            if hashlib.sha256(path.read_bytes()).hexdigest() != right:
                raise RuntimeError(f"run {number}: a wrong file was taken for a right one")
            worst = max(worst, server.bytes_served / len(content))
    print(f"\n{KILLS} runs killed and completed: all right; at most {worst:.3f} x the file's bytes served (goal 1.15)")
    return []


def cleaner(*paths: Path) -> Callable[[], None]:
    """Removes files and folders, before each run."""

    def clean() -> None:
        for path in (*paths, *(path.parent / "pooch" for path in paths)):
            shutil.rmtree(path, ignore_errors=True)
            if path.is_file():
                path.unlink()

    return clean


def has(module: str) -> bool:
    """Whether a peer is installed; says so when it is not."""
    installed = importlib.util.find_spec(module) is not None
    if not installed:
        print(f"{module} is not installed and left out")
    return installed


JOBS: dict[str, Callable[[Site, int], list[Line]]] = {
    "large": large,
    "limited": limited,
    "many": many,
    "verify": verify,
    "kills": kills,
}

if __name__ == "__main__":
    main()
