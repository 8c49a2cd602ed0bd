"""Collections: titled lists of repositories, kept by a user or an organization."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .git import FIRST_COMMIT_TIME, timestamp
from .replies import Refusal

TITLE_LIMIT = 60
DESCRIPTION_LIMIT = 150
"""Characters. Source: huggingface_hub 2.4, `hf collections create --help` (description); hub docs, collections."""

LISTED_ITEMS = 4
"""A listing shows so many items of each collection. Source: docstring of huggingface_hub 2.4, list_collections."""


@dataclass(slots=True)
class Item:
    object_id: str
    item_id: str
    item_type: str
    note: str | None

    def as_json(self, position: int) -> dict[str, Any]:
        shown = {"_id": self.object_id, "id": self.item_id, "type": self.item_type, "position": position}
        return shown | ({"note": {"text": self.note, "html": self.note}} if self.note else {})


@dataclass(slots=True)
class Collection:
    slug: str
    title: str
    namespace: str
    owner_type: str
    description: str | None
    private: bool
    items: list[Item] = field(default_factory=list)
    changes: int = 0

    def as_json(self, *, items: int | None = None) -> dict[str, Any]:
        """What the client reads; `owner` is an object, as the Hub sends it, though the client calls it a string."""
        data = {
            "slug": self.slug,
            "title": self.title,
            "owner": {"name": self.namespace, "type": self.owner_type},
            "lastUpdated": timestamp(FIRST_COMMIT_TIME + timedelta(seconds=self.changes)),
            "private": self.private,
            "theme": "green",
            "upvotes": 0,
            "items": [item.as_json(position) for position, item in enumerate(self.items[:items])],
        }
        return data | ({"description": self.description} if self.description else {})

    def find(self, object_id: str) -> Item:
        for item in self.items:
            if item.object_id == object_id:
                return item
        raise Refusal(404, "Collection item not found")


class Collections:
    """All collections by slug. Not thread-safe: the server calls it under its lock."""

    def __init__(self) -> None:
        self._by_slug: dict[str, Collection] = {}

    def create(self, namespace: str, owner_type: str, request: dict[str, Any]) -> Collection:
        """A new collection; 409 with the slug of the old one when the owner has one of that title."""
        title, description = request["title"], request.get("description")
        check_texts(title, description)
        for known in self._by_slug.values():
            if (known.namespace, known.title) == (namespace, title):
                raise Refusal(409, "Collection already exists", extra={"slug": known.slug})
        words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        slug = f"{namespace}/{words}-{_object_id(namespace, title, str(len(self._by_slug)))}"
        made = Collection(slug, title, namespace, owner_type, description, bool(request.get("private")))
        self._by_slug[slug] = made
        return made

    def get(self, slug: str) -> Collection:
        if slug not in self._by_slug:
            raise Refusal(404, "Collection not found")
        return self._by_slug[slug]

    def delete(self, slug: str) -> None:
        del self._by_slug[self.get(slug).slug]

    def all(self) -> list[Collection]:
        return list(self._by_slug.values())


def add_item(collection: Collection, item_id: str, item_type: str, note: str | None) -> None:
    if any((item.item_id, item.item_type) == (item_id, item_type) for item in collection.items):
        raise Refusal(409, "Item already exists in collection")
    object_id = _object_id(collection.slug, item_type, item_id)
    collection.items.append(Item(object_id, item_id, item_type, note))
    collection.changes += 1


def check_texts(title: str, description: str | None) -> None:
    if not 0 < len(title) <= TITLE_LIMIT:
        raise Refusal(400, f"title must have 1 to {TITLE_LIMIT} characters")
    if len(description or "") > DESCRIPTION_LIMIT:
        raise Refusal(400, f"description must have at most {DESCRIPTION_LIMIT} characters")


def _object_id(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:24]
