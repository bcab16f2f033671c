"""Cached responses to customers; staff always read the database."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

from flask import Response, after_this_request, request

from chassis.security import auth
from chassis.web.schemas import View
from services.products import cache
from services.products.search.finder import Finder, finder

V = TypeVar("V", bound=View)

_seen_generation = ""


def cached(key: str, view: type[V], make: Callable[[], V]) -> V:
    if auth.caller().is_staff:
        return make()
    found = cache.catalogue().get(key, cache.FRESH_SECONDS, lambda: make().model_dump_json().encode())
    _let_edge_cache(found.age_seconds)
    return view.model_validate_json(found.body)


def cached_list(view: type[V], make: Callable[[Finder], V]) -> V:
    generation = cache.catalogue().generation(cache.LISTS)

    def made() -> V:
        global _seen_generation
        current = finder()
        current.refresh(is_changed=generation != _seen_generation)
        _seen_generation = generation
        return make(current)

    digest = hashlib.sha256(request.full_path.encode()).hexdigest()
    return cached(f"{generation}:{digest}", view, made)


def _let_edge_cache(age_seconds: float) -> None:
    @after_this_request
    def add_headers(response: Response) -> Response:
        if response.status_code < 400:
            response.headers["Cache-Control"] = f"public, max-age={cache.FRESH_SECONDS:.0f}"
            response.headers["Age"] = str(round(age_seconds))
            response.vary.add("Authorization")
        return response
