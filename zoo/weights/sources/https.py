"""https: and http: URLs, through requests: ranges, redirects, proxies, CA bundle and `.netrc` as requests does them.

`understand` decides what a reply means; the rest asks and reads. A server that answers a range with something unusable
(416, another range, a compressed body) is asked again for the whole: `open` gives either what was asked or all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zoo.weights.sources import Fault, Version, redact_url

if TYPE_CHECKING:
    import requests


_CONNECT_SECONDS = 15.0
_POOL = 64
"""Idle connections that are kept: more than any sensible number of files at once times connections of each."""
_GONE = frozenset({401, 403, 404, 410})
"""What a signed address answers once it has expired; the original one is asked again before that is believed."""


def connect() -> HttpSource:
    """A source with its own connections."""
    return HttpSource()


@dataclass(frozen=True, slots=True)
class Meaning:
    """What status and headers say: the body begins at `start`; `is_usable` is false when another question is needed."""

    start: int
    is_partial: bool
    version: Version
    is_usable: bool = True
    is_encoded: bool = False


def understand(status: int, headers: Mapping[str, str], *, start: int, is_range: bool, url: str = "") -> Meaning:
    """What a final reply means for somebody who asked for the bytes from `start` on, as a range or not.

    Raises Fault for a status that brings no body of the file; `headers` finds names in any case.
    Source: RFC 9110, sections 8.8 (validators), 10.2.3 (Retry-After), 13.1.5 (If-Range), 14 (ranges), 15 (statuses).
    """
    is_encoded = headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
    if status == 206 and is_range:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start or is_encoded:
            return Meaning(0, False, Version(), is_usable=False)
        return Meaning(start, True, _version(headers, int(match[3])))
    if status == 416 and is_range:
        return Meaning(0, False, Version(), is_usable=False)
    if status == 200:
        length = headers.get("Content-Length", "")
        size_bytes = int(length) if length.isdigit() and not is_encoded else None
        return Meaning(0, False, _version(headers, size_bytes), is_encoded=is_encoded)
    raise _refusal(status, headers, redact_url(url))


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds to wait that a Retry-After header asks for, as a number or as a date; None when it says neither."""
    if re.fullmatch(r"\d+", text.strip()):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or timezone.utc) - now).total_seconds())


class HttpSource:
    """A Streams source over one requests.Session; its methods may be called from several threads."""

    def __init__(self) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self._session = requests.Session()
        adapter = HTTPAdapter(pool_connections=_POOL, pool_maxsize=_POOL, max_retries=0)
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
    ) -> HttpReply:
        """See Streams. An address that a redirect led to is used again, until it fails once."""
        is_range = start > 0 or stop is not None
        headers = {"Accept-Encoding": "identity"}
        if is_range:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if version is not None and version.is_known:
                headers["If-Range"] = version.etag or version.modified
        response = self._get(url, headers, timeout_seconds)
        try:
            meaning = understand(response.status_code, response.headers, start=start, is_range=is_range, url=url)
        except Fault:
            response.close()
            raise
        if meaning.is_usable:
            return HttpReply(response, meaning)
        response.close()
        return self.open(url, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        """Lets go of idle connections."""
        self._session.close()

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

        timeouts = (min(_CONNECT_SECONDS, timeout_seconds), timeout_seconds)
        try:
            return self._session.get(url, headers=headers, stream=True, timeout=timeouts)
        except requests.exceptions.TooManyRedirects as error:
            raise Fault("the address leads in a circle of redirects", where=redact_url(url)) from error
        except requests.exceptions.SSLError as error:
            hint = "if a proxy of yours signs for it, name its certificate in REQUESTS_CA_BUNDLE"
            raise Fault(
                f"the server cannot prove that it is {urlsplit(url).hostname}", where=redact_url(url), hint=hint
            ) from error
        except requests.exceptions.Timeout as error:
            raise Fault(f"no answer within {timeouts[1]:g} s", where=redact_url(url), is_passing=True) from error
        except requests.exceptions.ConnectionError as error:
            raise Fault(f"no connection: {_reason(error)}", where=redact_url(url), is_passing=True) from error
        except requests.exceptions.RequestException as error:
            raise Fault(f"the address cannot be asked for: {type(error).__name__}", where=redact_url(url)) from error


class HttpReply:
    """See Reply."""

    def __init__(self, response: requests.Response, meaning: Meaning) -> None:
        self._response = response
        self._is_encoded = meaning.is_encoded
        self.start = meaning.start
        self.is_partial = meaning.is_partial
        self.version = meaning.version

    def read(self, size: int) -> bytes:
        """See Reply."""
        import urllib3

        try:
            data: bytes = self._response.raw.read(size, decode_content=self._is_encoded)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Fault("the body stalled", where=redact_url(self._response.url), is_passing=True) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Fault(
                f"the body broke off: {_reason(error)}", where=redact_url(self._response.url), is_passing=True
            ) from error
        return data

    def interrupt(self) -> None:
        """See Reply."""
        with suppress(ValueError, RuntimeError, OSError):  # what urllib3 raises when the body has just ended
            self._response.raw.shutdown()

    def close(self) -> None:
        """See Reply."""
        self._response.close()


def _version(headers: Mapping[str, str], size_bytes: int | None) -> Version:
    etag = headers.get("ETag", "").strip()
    return Version(size_bytes, "" if etag.startswith("W/") else etag, headers.get("Last-Modified", "").strip())


def _refusal(status: int, headers: Mapping[str, str], where: str) -> Fault:
    if status == 429 or status == 408 or status >= 500:
        wait_seconds = retry_after(headers.get("Retry-After", ""), datetime.now(timezone.utc))
        return Fault(f"the server answers {status}", where=where, is_passing=True, wait_seconds=wait_seconds)
    hint = ""
    if status in (401, 403):
        hint = "if the address needs a login, put it into ~/.netrc"
    if status in (404, 410):
        hint = "the file has gone from there: put another address under `urls` in the card"
    return Fault(f"the server answers {status}", where=where, hint=hint)


def _reason(error: BaseException) -> str:
    """The innermost cause in few words: urllib3's own texts hold objects, and addresses with their secrets."""
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        inner = inner or next((part for part in error.args if isinstance(part, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).removesuffix("Error").strip().lower()
