"""Judge addresses: malformed URLs, hosts that are gone or misspelt, branches in place of commits."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from types import MappingProxyType
from urllib.parse import urlsplit

from zoo.registry.card import Card, Where
from zoo.registry.catalog import Member
from zoo.runtime.spelling import is_typo
from zoo.verification.rules import FINE, Rule, Verdict, is_first_of_collection, suspect, wrong

DEAD_HOSTS = MappingProxyType(
    {
        "paperswithcode.com": "closed in July 2025",  # its pages lead to github.com/paperswithcode, seen 2026-11-24
        "goo.gl": "closed on 25 August 2025",  # developers.googleblog.com, "Google URL Shortener links will no longer be available"
        "bintray.com": "closed on 1 May 2021",  # jfrog.com/blog/into-the-sunset-bintray-jcenter-gocenter-and-chartcenter
        "googledrive.com": "closed on 31 August 2016",  # workspaceupdates.googleblog.com, "Deprecating web hosting support in Google Drive"
    }
)
"""Domains that no longer answer, and since when."""
KNOWN_SCHEMES = ("http", "https", "hf", "file", "ftp", "s3", "gs", "sftp", "data")
LEAST_CARDS = 3
"""A host that at least so many cards of the family use is the family's usual host."""
_PLAIN = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::\d{1,4})?(?:/[\x21-\x7e]*)?"
)
"""The form of nearly all addresses; a match needs no closer look."""
_MOVES = re.compile(
    r"(?i)^https?://(?:www\.)?(?:huggingface\.co|hf\.co)/.*/(?:resolve|raw|blob)/(main|master)/"
    r"|^https?://(?:raw\.githubusercontent\.com/[^/]+/[^/]+|github\.com/[^/]+/[^/]+/(?:raw|blob))/(main|master|HEAD)/"
    r"|[?&](?:revision|ref|branch)=(main|master)(?:&|$)"
)


def addresses(card: Card) -> Iterator[tuple[Where, str]]:
    """Yield the URLs of the card's weights, each with its place."""
    for weights in card.weights:
        for index, url in enumerate(weights.urls):
            yield weights.where.at("urls", index), url


def url_form(member: Member) -> Iterator[Verdict]:
    """Check that each address is a URL: with a scheme and a host, and without characters that only look like valid ones."""
    for place, url in addresses(member.card):
        what = url_fault(url)
        if what is None:
            yield FINE
        else:
            repaired = repair_url(url)
            hint = (
                f"write {repaired}" if repaired else "write the whole URL, or remove it if the file is beside the card"
            )
            yield wrong(place, f"{url!r} {what}", hint, url)


def url_fault(url: str) -> str | None:
    """Return why a text is not a URL, as the end of a sentence; None when it is a URL."""
    if _PLAIN.fullmatch(url) and "http" not in url[5:]:
        return None
    for character in url:
        if character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Zs"):
            name = unicodedata.name(character, f"U+{ord(character):04X}").lower()
            return f"has a character that is not allowed in a URL: {name}"
        if "\uff01" <= character <= "\uff5e" or character in "\u3002\uff61":
            return f"has a full-width character, {character}"
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or len(scheme) == 1:
        is_path = re.match(r"[\w.~/\\-]", url)
        return "has no scheme: it is a local path or the end of a URL" if is_path else "is not a URL"
    if scheme.lower() not in KNOWN_SCHEMES and any(
        is_typo(scheme.lower(), known) for known in KNOWN_SCHEMES if len(known) > 3
    ):
        return f"has a misspelt scheme, {scheme}"
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
        return f"mixes letters of several scripts in its host: {host}" if _is_mixed(host) else None
    if parts.scheme.lower() == "hf":
        return None
    if not re.fullmatch(
        r"(?:\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?)", host
    ):
        return f"has a malformed host: {host}" if not re.fullmatch(r"[0-9a-f:.]+", host) else None
    if "http:" in rest or "https:" in rest:
        is_in_path = re.search(r"/https?:/", rest) and not re.match(r"//https?:", rest)
        return None if is_in_path else "has a second scheme inside"
    return None


def _is_mixed(host: str) -> bool:
    """Return whether a host mixes letters of several scripts, as a host that imitates another does."""
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in host if letter.isalpha()}
    return len(scripts) > 1


def repair_url(url: str) -> str | None:
    """Return the URL that a text was meant to be; None when more than its wrapping, width or scheme is wrong."""
    text = unicodedata.normalize("NFKC", url)
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf").strip().strip("<>()[]\"'`,;")
    text = re.sub(r"(?i)^(?:htp|htps|hhttps?|htttps?|ttps?)://", "https://", text)
    text = re.sub(r"(?i)^(https?)(?:;|:)?/{1,3}(?=[\w.-]+\.\w)", r"\1://", text)
    return text if text != url and url_fault(text) is None else None


def dead_host(member: Member) -> Iterator[Verdict]:
    """Check that links do not lead to a host that is gone.

    The links of a collection are reported with its first card.
    """
    card = member.card
    links = [*addresses(card)]
    links += [(card.where.at("code"), card.code)] if card.code else []
    collection = member.collection
    if collection is not None and is_first_of_collection(member):
        paper = collection.paper
        links += [(paper.where.at("url"), paper.url)] if paper and paper.url else []
        links += [(collection.where.at("code"), collection.code)] if collection.code else []
    for place, url in links:
        host = host_of(url)
        dead = next((name for name in DEAD_HOSTS if host == name or host.endswith(f".{name}")), None)
        if dead is None:
            yield FINE
        else:
            reason = f"{dead} {DEAD_HOSTS[dead]}, so {url} is a dead link; keeping it for the record would explain it"
            yield suspect(place, reason, "give an address that answers", url)


def host_of(url: str) -> str:
    """Return the host of a URL in lower case; an empty text when it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def near_host(member: Member) -> Iterator[Verdict]:
    """Check that the host is not one typing error away from the host that the family uses."""
    for place, url in addresses(member.card):
        host = host_of(url)
        if not host or url.startswith("hf:"):
            continue
        usual = _hosts(member)
        near = [
            name for name, count in usual.items() if count >= max(LEAST_CARDS, 2 * usual[host]) and is_typo(host, name)
        ]
        if near:
            reason = (
                f"the host {host} differs in one letter from {near[0]}, which {usual[near[0]]} cards use;"
                " a mirror of that name would explain it"
            )
            yield suspect(place, reason, f"write {near[0]} if the host is misspelt", host, near[0])
        else:
            yield FINE


def _hosts(member: Member) -> Counter[str]:
    catalog, collection = member.catalog, member.card.collection
    hosts: Counter[str] = catalog.derived(
        ("hosts", collection),
        lambda: Counter(
            host_of(url) for card in catalog.sharing("collection", collection) for _, url in addresses(card)
        ),
    )
    return hosts


def moving_revision(member: Member) -> Iterator[Verdict]:
    """Check that a URL names fixed bytes: a commit or a tag, not a branch."""
    for place, url in addresses(member.card):
        if url.startswith("hf:"):
            revision = re.search(r"@([^/@]+)(?:/|$)", url)
            moves = revision is None or revision[1] in ("main", "master")
            reference = f"the branch {revision[1]}" if revision else "no revision, which means the branch main"
        else:
            match = _MOVES.search(url)
            moves, reference = match is not None, f"the branch {next(filter(None, match.groups()))}" if match else ""
        if moves:
            reason = f"the URL names {reference}, so the file behind it may change"
            yield suspect(place, reason, "name a commit in the URL; `zoo pin` adds the digest", url)
        elif url.startswith(("hf:", "http")):
            yield FINE


RULES = (
    Rule("url-form", "an address is a URL", "write the whole URL", url_form),
    Rule("dead-host", "links are alive", "give an address that answers", dead_host),
    Rule("near-host", "the files of a family are on the same host", "correct the host", near_host),
    Rule("moving-revision", "a URL names fixed bytes", "name a commit in the URL", moving_revision),
)
