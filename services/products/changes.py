"""What follows a change of the catalogue by staff."""

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from chassis.base.problems import Unavailable
from chassis.storage.mongo import MongoStore
from services.products import cache
from services.products.search.finder import finder


def publish(product_ids: Sequence[UUID]) -> None:
    """Invalidate the cache and update the search index."""
    cache.invalidate_products(*product_ids)
    cache.invalidate_lists()
    # The change is made already; an index that cannot read it now reads it later.
    with suppress(Unavailable, *MongoStore.unavailable):
        finder().refresh(is_changed=True)
