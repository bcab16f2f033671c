"""Follow-up to staff changes of the catalogue."""

from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from chassis.base.problems import Unavailable
from chassis.storage.mongo import MongoStore
from services.products import cache
from services.products.search.finder import finder


def publish(product_ids: Sequence[UUID]) -> None:
    cache.invalidate_products(*product_ids)
    cache.invalidate_lists()
    # The change is made; the index catches up later.
    with suppress(Unavailable, *MongoStore.unavailable):
        finder().refresh(is_changed=True)
