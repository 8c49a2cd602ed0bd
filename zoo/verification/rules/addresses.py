"""Rules about addresses: what is no URL, hosts that are gone or misspelt, revisions that move."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from types import MappingProxyType
from urllib.parse import urlsplit

from zoo.registry.card import Card, Where
from zoo.registry.catalog import Catalog
from zoo.runtime.spelling import is_typo
from zoo.verification.rules import FINE, Rule, Verdict, suspect, wrong

DEAD_HOSTS = MappingProxyType(
    {
        "paperswithcode.com": "closed in July 2025",  # its pages lead to github.com/paperswithcode, seen 2026-11-24
        "goo.gl": "closed on 25 August 2025",  # developers.googleblog.com, "Google URL Shortener links will no longer be available"
        "bintray.com": "closed on 1 May 2021",  # jfrog.com/blog/into-the-sunset-bintray-jcenter-gocenter-and-chartcenter
        "googledrive.com": "closed on 31 August 2016",  # workspaceupdates.googleblog.com, "Deprecating web hosting support in Google Drive"
    }
)
"""Hosts that answer no more, by their domain, and since when."""
KNOWN_SCHEMES = ("http", "https", "hf", "file", "ftp", "s3", "gs", "sftp", "data")
LEAST_CARDS = 3
"""A host that as many cards of the family use is the family's."""
_PLAIN = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::\d{1,4})?(?:/[\x21-\x7e]*)?"
)
"""What nearly all addresses look like: nothing to complain of."""
_MOVES = re.compile(
    r"(?i)^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/.*/(?:resolve|raw|blob)/(main|master)/"
    r"|^https?://(?:raw\.githubusercontent\.com/[^/]+/[^/]+|github\.com/[^/]+/[^/]+/(?:raw|blob))/(main|master|HEAD)/"
    r"|[?&](?:revision|ref|branch)=(main|master)(?:&|$)"
)


def addresses(card: Card) -> Iterator[tuple[Where, str]]:
    """The addresses of the card's weights, each with its place."""
    for weights in card.weights:
        for index, url in enumerate(weights.urls):
            yield weights.where.at("urls", index), url


def url_form(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """An address is a URL: a scheme, a host, and no characters that only look like those of one."""
    for place, url in addresses(card):
        what = url_fault(url)
        if what is None:
            yield FINE
        else:
            mended = repair_url(url)
            hint = f"write {mended}" if mended else "give the URL, or none if the file lies beside the card"
            yield wrong(place, f"{url!r} {what}", hint, url)


def url_fault(url: str) -> str | None:
    """Why a text is no URL, or None when it is one."""
    if _PLAIN.fullmatch(url) and "http" not in url[5:]:
        return None
    for character in url:
        if character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Zs"):
            name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
            return f"has a character that no URL has: {name}"
        if "\uff01" <= character <= "\uff5e" or character in "\u3002\uff61":
            return f"has a full-width character, {character}"
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or len(scheme) == 1:
        return "has no scheme: it is a local path or the end of a URL" if re.match(r"[\w.~/\\-]", url) else "is no URL"
    if scheme.lower() not in KNOWN_SCHEMES and any(
        is_typo(scheme.lower(), known) for known in KNOWN_SCHEMES if len(known) > 3
    ):
        return f"has the scheme {scheme}, which is misspelt"
    if scheme.lower() in ("http", "https", "hf", "ftp", "s3", "gs"):
        return _host_fault(url, rest)
    return None


def _host_fault(url: str, rest: str) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        return f"is malformed: {error}"
    if not rest.startswith("//") or rest.startswith("///") or not host:
        return "has no host after //"
    if not host.isascii():
        return f"has letters in its host that look like others: {host}" if _is_mixed(host) else None
    if parts.scheme.lower() == "hf":
        return None
    if not re.fullmatch(
        r"(?:\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?)", host
    ):
        return f"has a malformed host: {host}" if not re.fullmatch(r"[0-9a-f:.]+", host) else None
    if "http:" in rest or "https:" in rest:
        return (
            None if re.search(r"/https?:/", rest) and not re.match(r"//https?:", rest) else "has a second scheme inside"
        )
    return None


def _is_mixed(host: str) -> bool:
    """Whether letters of several scripts stand together, as in a host that imitates another."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in host if letter.isalpha()}
    return len(scripts) > 1


def repair_url(url: str) -> str | None:
    """The URL that a text was meant to be, where only wrapping and width are wrong; else None."""
    text = unicodedata.normalize("NFKC", url)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf").strip().strip("<>()[]\"'`,;")
    text = re.sub(r"(?i)^(?:htp|htps|hhttps?|htttps?|ttps?)://", "https://", text)
    text = re.sub(r"(?i)^(https?)(?:;|:)?/{1,3}(?=[\w.-]+\.\w)", r"\1://", text)
    return text if text != url and url_fault(text) is None else None


def dead_host(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The host still answers; a family's own links are told with its first card."""
    links = [*addresses(card)]
    links += [(card.where.at("code"), card.code)] if card.code else []
    collection = catalog.collection_of(card)
    if collection is not None and catalog.sharing("collection", card.collection, most=1)[0] is card:
        paper = collection.paper
        links += [(paper.where.at("url"), paper.url)] if paper and paper.url else []
        links += [(collection.where.at("code"), collection.code)] if collection.code else []
    for place, url in links:
        host = host_of(url)
        dead = next((name for name in DEAD_HOSTS if host == name or host.endswith(f".{name}")), None)
        if dead is None:
            yield FINE
        else:
            reason = f"{dead} {DEAD_HOSTS[dead]}: {url} leads nowhere, unless it is kept for the record"
            yield suspect(place, reason, "give an address that answers", url)


def host_of(url: str) -> str:
    """The host of a URL in lower case; nothing where there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def near_host(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """The host is not one slip away from the one that the family uses."""
    for place, url in addresses(card):
        host = host_of(url)
        if not host or url.startswith("hf:"):
            continue
        usual = _hosts(card, catalog)
        near = [
            name for name, count in usual.items() if count >= max(LEAST_CARDS, 2 * usual[host]) and is_typo(host, name)
        ]
        if near:
            reason = f"the host {host} is one letter from {near[0]}, which {usual[near[0]]} cards use: a mirror of that name would explain it"
            yield suspect(place, reason, f"write {near[0]}, if it is meant", host, near[0])
        else:
            yield FINE


def _hosts(card: Card, catalog: Catalog) -> Counter[str]:
    hosts: Counter[str] = catalog.derived(
        ("hosts", card.collection),
        lambda: Counter(
            host_of(url) for member in catalog.sharing("collection", card.collection) for _, url in addresses(member)
        ),
    )
    return hosts


def moving_revision(card: Card, catalog: Catalog) -> Iterator[Verdict]:
    """A URL names bytes that stay: a commit or a tag, not a branch, which moves."""
    for place, url in addresses(card):
        if url.startswith("hf:"):
            revision = re.search(r"@([^/@]+)(?:/|$)", url)
            moves = revision is None or revision[1] in ("main", "master")
            reference = f"the revision {revision[1]}" if revision else "no revision, which means main"
        else:
            match = _MOVES.search(url)
            moves, reference = match is not None, f"the branch {next(filter(None, match.groups()))}" if match else ""
        if moves:
            reason = f"the URL names {reference}, which moves: the file may become another"
            yield suspect(place, reason, "name a commit; `zoo pin` adds the digest", url)
        elif url.startswith(("hf:", "http")):
            yield FINE


RULES = (
    Rule("url-form", "an address is a URL", "write the URL out", url_form),
    Rule("dead-host", "a link leads somewhere", "give an address that answers", dead_host),
    Rule("near-host", "a family's files lie on one host", "correct the host", near_host),
    Rule("moving-revision", "a URL names bytes that stay", "name a commit", moving_revision),
)
