"""What the sources decide without a network: what a response means, how long to wait, how URLs are redacted."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from zoo import plugins
from zoo.weights.sources import SourceError, StreamSource, Version, redact_url
from zoo.weights.sources.https import Interpretation, interpret, retry_after

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc)


def test_every_source_is_of_one_of_the_two_kinds() -> None:
    from zoo.weights.sources import DownloadSource

    kinds = {
        name: isinstance(plugins.load("sources", name).open_source(), StreamSource) for name in plugins.names("sources")
    }
    assert kinds == {"file": True, "hf": False, "https": True}
    assert isinstance(plugins.load("sources", "hf").open_source(), DownloadSource)


@pytest.mark.parametrize(
    ("status", "headers", "start", "is_range", "meaning"),
    [
        (200, {"Content-Length": "10", "ETag": '"a"'}, 0, False, Interpretation(0, False, Version(10, '"a"'))),
        (200, {"Content-Length": "10"}, 5, True, Interpretation(0, False, Version(10))),
        (200, {}, 0, False, Interpretation(0, False, Version(None))),
        (200, {"Content-Length": "ten"}, 0, False, Interpretation(0, False, Version(None))),
        (200, {"Content-Length": "\xb2"}, 0, False, Interpretation(0, False, Version(None))),
        (200, {"Content-Length": "9" * 5000}, 0, False, Interpretation(0, False, Version(None))),
        (
            206,
            {"Content-Range": f"bytes 5-9/{'9' * 5000}"},
            5,
            True,
            Interpretation(0, False, Version(), is_usable=False),
        ),
        (
            200,
            {"Content-Length": "9", "Content-Encoding": "gzip"},
            0,
            False,
            Interpretation(0, False, Version(), is_encoded=True),
        ),
        (206, {"Content-Range": "bytes 5-9/10"}, 5, True, Interpretation(5, True, Version(10))),
        (206, {"Content-Range": "bytes 5-9/10", "ETag": 'W/"a"'}, 5, True, Interpretation(5, True, Version(10))),
        (206, {"Content-Range": "bytes 6-9/10"}, 5, True, Interpretation(0, False, Version(), is_usable=False)),
        (206, {"Content-Range": "bytes 5-9/*"}, 5, True, Interpretation(0, False, Version(), is_usable=False)),
        (206, {}, 5, True, Interpretation(0, False, Version(), is_usable=False)),
        (416, {"Content-Range": "bytes */3"}, 5, True, Interpretation(0, False, Version(), is_usable=False)),
    ],
)
def test_what_a_response_means(
    status: int, headers: dict[str, str], start: int, is_range: bool, meaning: Interpretation
) -> None:
    assert interpret(status, headers, start=start, is_range=is_range) == meaning


@pytest.mark.parametrize(
    ("status", "is_temporary"),
    [
        (status, status in (408, 429) or status >= 500)
        for status in (204, 206, 304, 400, 401, 403, 404, 408, 410, 416, 429, 500, 502, 503, 504)
    ],
)
def test_only_temporary_statuses_are_retried(status: int, is_temporary: bool) -> None:
    with pytest.raises(SourceError) as caught:
        interpret(status, {}, start=0, is_range=False, url="https://a:b@host/x?token=c")
    assert (caught.value.is_temporary, caught.value.where) == (is_temporary, "https://host/x?token=...")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Tue, 24 Nov 2026 12:01:00 GMT", 60.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        *((nonsense, None) for nonsense in ("", "soon", "-5", "1.5", "Tue, 24 Nov 2026 12:01:00 +99999999999999")),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(text, NOON) == seconds


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://host/a/b.pth?download=true", "https://host/a/b.pth?download=true"),
        ("https://me:secret@host:8080/a#part", "https://host:8080/a"),
        ("https://host/a?X-Amz-Signature=abc&x=1&sig=2", "https://host/a?X-Amz-Signature=...&x=1&sig=..."),
        ("https://host/a?X-Amz-Credential=abc&Key-Pair-Id=K&token=t", "https://host/a?X-Amz-Credential=...&Key-Pair-Id=...&token=..."),
        ("hf://org/net@main/a.pth", "hf://org/net@main/a.pth"),
        ("https://me:secret@[host/a?token=t", "https://[host/a"),
    ],
)  # fmt: skip
def test_urls_are_redacted(url: str, safe: str) -> None:
    assert redact_url(url) == safe
