"""/products/{id}/stock, adjustments and movements."""

from uuid import UUID

from chassis.base.problems import Unavailable
from chassis.security import auth
from chassis.storage.responses import HEADER, KeyReused
from chassis.web.api import Resource, endpoint
from services.products import changes
from services.products.api.ids import new_id
from services.products.models import Entry, Movement, Product, adjust
from services.products.models.movement import ADJUSTMENT
from services.products.models.stock import Busy
from services.products.stock_schemas import (
    MovementPage,
    MovementsQuery,
    MovementView,
    NewAdjustment,
    StockChange,
    StockView,
)


class ProductStock(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, product_id: UUID) -> StockView:
        """Units on hand, held for orders and sold."""
        return StockView.of(Product.with_stock(product_id))

    @endpoint(allow=auth.STAFF)
    def put(self, product_id: UUID, body: StockChange) -> StockView:
        """Set the low-stock threshold."""
        Product.change(product_id, None, low_stock_threshold=body.low_stock_threshold)
        changes.publish([product_id])
        return StockView.of(Product.with_stock(product_id))


class Adjustments(Resource):
    @endpoint(allow=auth.STAFF, status=201, idempotency="own")
    def post(self, product_id: UUID, body: NewAdjustment) -> MovementView:
        """Add or remove units, with a reason. Needs an Idempotency-Key."""
        by, reference = str(auth.caller().user_id), str(new_id(is_required=True))
        movement = Movement.of(ADJUSTMENT, on_hand=body.quantity, reason=body.reason, reference=reference, by=by)
        try:
            entry = adjust(product_id, movement)
        except Busy as error:
            raise Unavailable("The product is changing too often; try again.") from error
        if (entry.on_hand, entry.reason) != (body.quantity, body.reason):
            raise KeyReused("It was first used with another request body.", field=HEADER)
        changes.publish([product_id])
        return MovementView.of(entry)


class Movements(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, product_id: UUID, query: MovementsQuery) -> MovementPage:
        """The stock ledger, newest first. Movements appear within about a second."""
        Product.with_stock(product_id)
        if query.reference is not None:
            entries, next_ = Entry.of(query.reference, product_id), None
        else:
            entries, next_ = Entry.page(query, product_id)
        return MovementPage(items=[MovementView.of(entry) for entry in entries], next=next_)
