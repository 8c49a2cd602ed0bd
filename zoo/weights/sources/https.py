"""Read https: and http: URLs with requests, which handles redirects, proxies, CA bundles and `.netrc`.

`interpret` decides what a response means; the rest sends requests and reads bodies. When a response to a range request
is unusable (416, another range, a compressed body), the whole file is requested: `open` returns the range or the whole
file.

A timeout of a socket ends only a read that receives nothing. A server that sends a byte now and then is ended by the
watchdog, which shuts the socket down.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from zoo.weights.sources import SourceError, Version, redact_url

if TYPE_CHECKING:
    import requests


_CONNECT_SECONDS = 15.0
_POOL = 64
"""The number of idle connections to keep: more than any sensible number of parallel files times their connections."""
MAX_REDIRECTS = 10
"""More than any server of weights uses; requests follows 30."""
TIMEOUTS = 2
"""A response's status and headers, and each read, may take so many times the timeout of a socket."""
READ_SECONDS = 0.1
"""A read collects what arrives in this time, so that a slow server's bytes are written soon."""
POLL_SECONDS = 0.2
_GONE = frozenset({401, 403, 404, 410})
"""The statuses of an expired signed address. Only when the original address returns one too, the file is missing."""


def open_source() -> HttpSource:
    """Return a source with its own connections."""
    return HttpSource()


@dataclass(frozen=True, slots=True)
class Interpretation:
    """What status and headers mean: the body begins at `start`, in bytes.

    `is_usable` is false when another request is needed, `is_encoded` true when the body is compressed.
    """

    start: int
    is_partial: bool
    version: Version
    is_usable: bool = True
    is_encoded: bool = False


def interpret(status: int, headers: Mapping[str, str], *, start: int, is_range: bool, url: str = "") -> Interpretation:
    """Return what a final response means, when the bytes from `start` on were requested, as a range or not.

    headers: a mapping that ignores case. Raises SourceError for a status without the file's content.
    Source: RFC 9110, sections 8.8 (validators), 10.2.3 (Retry-After), 13.1.5 (If-Range), 14 (ranges), 15 (statuses).
    """
    is_encoded = headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
    if status == 206 and is_range:
        match = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", headers.get("Content-Range", "").strip())
        if match is None or is_encoded or not start == int(match[1]) <= int(match[2]) < int(match[3]):
            return Interpretation(0, False, Version(), is_usable=False)
        return Interpretation(start, True, _version(headers, int(match[3])))
    if status == 416 and is_range:
        return Interpretation(0, False, Version(), is_usable=False)
    if status == 200:
        length = headers.get("Content-Length", "")
        size_bytes = int(length) if re.fullmatch(r"[0-9]{1,19}", length) and not is_encoded else None
        return Interpretation(0, False, _version(headers, size_bytes), is_encoded=is_encoded)
    raise _error_of(status, headers, redact_url(url))


def retry_after(text: str, now: datetime) -> float | None:
    """Return the seconds to wait in a Retry-After header, a number or a date; None when it is neither."""
    if re.fullmatch(r"\d+", text.strip()):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or timezone.utc) - now).total_seconds())
    except (ValueError, OverflowError):
        return None


class Watchdog:
    """Ends operations that take too long, by calling a function of theirs in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._operations: dict[object, tuple[float, Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None
        self._is_closed = False

    @contextmanager
    def limited(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        """Call `end`, once, when the block takes longer."""
        operation = object()
        with self._changed:
            self._operations[operation] = (time.monotonic() + seconds, end)
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._operations.pop(operation, None)

    def close(self) -> None:
        """Stop watching."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, POLL_SECONDS):
                    return
                now = time.monotonic()
                late = [operation for operation, (deadline, _) in self._operations.items() if deadline < now]
                for operation in late:
                    with suppress(ValueError, RuntimeError, OSError):  # it has just ended
                        self._operations.pop(operation)[1]()


class HttpSource:
    """A StreamSource with one requests.Session. Its methods may be called from several threads."""

    def __init__(self) -> None:
        import requests

        self._watchdog = Watchdog()
        self._session = requests.Session()
        self._session.max_redirects = MAX_REDIRECTS
        adapter = _adapter(self._watchdog)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._resolved: dict[str, str] = {}

    def open(
        self,
        url: str,
        *,
        start: int = 0,
        stop: int | None = None,
        version: Version | None = None,
        timeout_seconds: float,
    ) -> HttpResponse:
        """Open the URL, see StreamSource. The target of a redirect is used again until it fails once."""
        is_range = start > 0 or stop is not None
        headers = {"Accept-Encoding": "identity"}
        if is_range:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if version is not None and version.is_known:
                headers["If-Range"] = version.etag or version.modified
        response = self._get(url, headers, timeout_seconds)
        try:
            interpretation = interpret(response.status_code, response.headers, start=start, is_range=is_range, url=url)
        except SourceError:
            response.close()
            raise
        if interpretation.is_usable:
            return HttpResponse(response, interpretation, self._watchdog, TIMEOUTS * timeout_seconds)
        response.close()
        return self.open(url, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()
        self._watchdog.close()

    def _get(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> requests.Response:
        resolved = self._resolved.pop(url, url)
        response = self._request(resolved, headers, timeout_seconds)
        if resolved != url and (response.status_code in _GONE or response.status_code >= 500):
            response.close()
            response = self._request(url, headers, timeout_seconds)
        if response.status_code < 400 and response.history:
            self._resolved[url] = response.url
        elif response.status_code < 400 and resolved != url:
            self._resolved[url] = resolved
        return response

    def _request(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> requests.Response:
        import requests

        timeouts, started = (min(_CONNECT_SECONDS, timeout_seconds), timeout_seconds), time.monotonic()

        def leave_redirect(response: requests.Response, **options: Any) -> None:
            if response.is_redirect:  # requests would read all of its body
                response.raw.close()
                if time.monotonic() - started > TIMEOUTS * timeout_seconds:
                    raise requests.exceptions.Timeout

        try:
            hooks = {"response": leave_redirect}
            return self._session.get(url, headers=headers, stream=True, timeout=timeouts, hooks=hooks)
        except requests.exceptions.TooManyRedirects as error:
            raise SourceError("too many redirects", where=redact_url(url)) from error
        except requests.exceptions.SSLError as error:
            hint = "if your proxy has a certificate of its own, set REQUESTS_CA_BUNDLE to its file"
            what = f"cannot make a secure connection to {urlsplit(url).hostname}: {_reason(error)}"
            raise SourceError(what, where=redact_url(url), hint=hint) from error
        except requests.exceptions.Timeout as error:
            raise SourceError(
                f"no response within {timeouts[1]:g} s", where=redact_url(url), is_temporary=True
            ) from error
        except requests.exceptions.ConnectionError as error:
            if time.monotonic() - started >= TIMEOUTS * timeout_seconds:  # the watchdog ended it
                what = f"no complete response within {TIMEOUTS * timeout_seconds:g} s"
                raise SourceError(what, where=redact_url(url), is_temporary=True) from error
            raise SourceError(f"cannot connect: {_reason(error)}", where=redact_url(url), is_temporary=True) from error
        except requests.exceptions.RequestException as error:
            raise SourceError(f"the request failed: {_words(error)}", where=redact_url(url)) from error
        except ValueError as error:  # requests and urllib3 raise it for some redirects
            raise SourceError(
                "the address, or one that it redirects to, is not valid", where=redact_url(url)
            ) from error


class HttpResponse:
    """The Response of an HttpSource."""

    def __init__(
        self, response: requests.Response, interpretation: Interpretation, watchdog: Watchdog, read_seconds: float
    ) -> None:
        self._response, self._watchdog, self._read_seconds = response, watchdog, read_seconds
        self._is_late = False
        self._failure: Exception | None = None
        self._is_encoded = interpretation.is_encoded
        self.start = interpretation.start
        self.is_partial = interpretation.is_partial
        self.version = interpretation.version

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, see Response."""
        import urllib3

        try:
            with self._watchdog.limited(self._read_seconds, self._end_late):
                data = self._read(size)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise SourceError(
                "the server stopped sending", where=redact_url(self._response.url), is_temporary=True
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceError(
                f"the connection broke off: {_reason(error)}", where=redact_url(self._response.url), is_temporary=True
            ) from error
        if self._is_late:  # a body that was ended looks complete when its length is unknown
            what = f"a read took longer than {self._read_seconds:g} s"
            raise SourceError(what, where=redact_url(self._response.url), is_temporary=True)
        return data

    def _read(self, size: int) -> bytes:
        """Return what arrives within READ_SECONDS. urllib3's `read` waits until all of `size` has arrived.

        An error after some bytes is raised by the next read.
        """
        if self._failure is not None:
            raise self._failure
        blocks: list[bytes] = []
        end = time.monotonic() + READ_SECONDS
        try:
            while size and (not blocks or time.monotonic() < end):
                block: bytes = self._response.raw.read1(size, decode_content=self._is_encoded) or b""
                if not block:
                    break
                blocks.append(block)
                size -= len(block)
        except Exception as error:
            if not blocks:
                raise
            self._failure = error
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def _end_late(self) -> None:
        self._is_late = True
        self.interrupt()

    def interrupt(self) -> None:
        """End a `read` that another thread is waiting in."""
        with suppress(ValueError, RuntimeError, OSError):  # what urllib3 raises when the body has just ended
            self._response.raw.shutdown()

    def close(self) -> None:
        """Close the connection if the body was not read to its end."""
        self._response.close()


def _adapter(watchdog: Watchdog) -> Any:
    """Return an adapter for requests whose connections are watched while they wait for status and headers."""
    import socket

    from requests.adapters import HTTPAdapter
    from urllib3 import connection, connectionpool

    class WatchedConnection(connection.HTTPConnection):
        def getresponse(self) -> Any:
            with _watched(self):
                return super().getresponse()

    class WatchedSecureConnection(connection.HTTPSConnection):
        def getresponse(self) -> Any:
            with _watched(self):
                return super().getresponse()

    @contextmanager
    def _watched(waiting: connection.HTTPConnection) -> Iterator[None]:
        used, seconds = waiting.sock, waiting.timeout
        if used is None or not isinstance(seconds, (int, float)):
            yield
            return
        was_late = threading.Event()

        def end() -> None:
            was_late.set()
            used.shutdown(socket.SHUT_RDWR)

        with watchdog.limited(TIMEOUTS * seconds, end):
            yield
        if was_late.is_set():  # http.client takes the end of a connection for the end of the headers
            raise TimeoutError

    class WatchedPool(connectionpool.HTTPConnectionPool):
        ConnectionCls = WatchedConnection

    class WatchedSecurePool(connectionpool.HTTPSConnectionPool):
        ConnectionCls = WatchedSecureConnection

    pools = {"http": WatchedPool, "https": WatchedSecurePool}

    class WatchedAdapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            manager = super().proxy_manager_for(proxy, **options)
            if not proxy.lower().startswith("socks"):  # those have pools of their own
                manager.pool_classes_by_scheme = pools
            return manager

    return WatchedAdapter(pool_connections=_POOL, pool_maxsize=_POOL, max_retries=0)


def _version(headers: Mapping[str, str], size_bytes: int | None) -> Version:
    etag = headers.get("ETag", "").strip()
    return Version(size_bytes, "" if etag.startswith("W/") else etag, headers.get("Last-Modified", "").strip())


def _error_of(status: int, headers: Mapping[str, str], where: str) -> SourceError:
    if status == 429 or status == 408 or status >= 500:
        wait_seconds = retry_after(headers.get("Retry-After", ""), datetime.now(timezone.utc))
        return SourceError(f"the server returned {status}", where=where, is_temporary=True, wait_seconds=wait_seconds)
    hint = ""
    if status in (401, 403):
        hint = "if the address needs a login, add it to ~/.netrc"
    if status in (404, 410):
        hint = "the file is no longer at this address: correct `urls` in the card"
    return SourceError(f"the server returned {status}", where=where, hint=hint)


def _reason(error: BaseException) -> str:
    """Return the innermost cause in a few words: urllib3's own messages contain objects, and addresses with secrets."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        inner = inner or next((part for part in error.args if isinstance(part, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _words(error)


def _words(error: BaseException) -> str:
    """Return the name of an error's class in words: `invalid header` for InvalidHeader."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).removesuffix("Error").strip().lower()
