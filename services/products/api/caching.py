"""Cached responses to customers, sent as they are; staff always read the database."""

import hashlib
from collections.abc import Callable

from flask import request

from chassis.security import auth
from chassis.storage import mongo
from chassis.web.preconditions import weak_etag
from chassis.web.schemas import Query, Rendered, V, View
from services.products import cache
from services.products.search.finder import Finder, finder

_seen_generation = ""


def cached(key: str, make: Callable[[], V]) -> Rendered[V]:
    """Raises what `make` raises, which is not cached."""
    if auth.caller().is_staff:
        return Rendered.of(make())
    found = cache.catalogue().get(key, cache.FRESH_SECONDS, lambda: _stored(make))
    etag, _, body = found.body.partition(b"\n")
    headers = {
        "Content-Type": View.content_type,
        "ETag": etag.decode(),
        "Cache-Control": f"public, max-age={cache.FRESH_SECONDS:.0f}",
        "Age": str(round(found.age_seconds)),
        "Vary": "Authorization",
    }
    return Rendered(body, headers)


def _stored(make: Callable[[], View]) -> bytes:
    """The ETag in a line, then the body."""
    with mongo.commands():
        rendered = Rendered.of(make())
    etag = rendered.headers.get("ETag") or weak_etag(rendered.body)
    return f"{etag}\n".encode() + rendered.body


def cached_list(query: Query, make: Callable[[Finder], V]) -> Rendered[V]:
    """Queries that mean the same share one entry."""
    generation = cache.catalogue().generation(cache.LISTS)

    def made() -> V:
        global _seen_generation
        current = finder()
        current.refresh(is_changed=generation != _seen_generation)
        _seen_generation = generation
        return make(current)

    meaning = f"{request.path.rstrip('/')}?{query.model_dump_json(exclude_defaults=True)}"
    digest = hashlib.sha256(meaning.encode()).hexdigest()
    return cached(f"list:{generation}:{digest}", made)
