"""/products/{id}/stock and its movements: for staff, who see all and say what came and went."""

from uuid import UUID

from chassis.base.problems import Unavailable
from chassis.security import auth
from chassis.storage.responses import HEADER, KeyReused
from chassis.web.api import Resource, endpoint
from chassis.web.pagination import Page
from services.products import reading
from services.products.api.keyed import new_id
from services.products.models import Entry, Movement, Product, adjust
from services.products.models.movement import ADJUSTMENT
from services.products.models.stock import Busy
from services.products.stock_schemas import MovementPage, MovementView, NewAdjustment, StockChange, StockView


class ProductStock(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, product_id: UUID) -> StockView:
        """How many pieces are on hand, held for orders, and sold; together they are all that were received."""
        return StockView.of(Product.with_stock(product_id))

    @endpoint(allow=auth.STAFF)
    def put(self, product_id: UUID, body: StockChange) -> StockView:
        """Say how many pieces on hand are few. The next fall to them is announced, not one that was before."""
        Product.change(product_id, None, low_stock_threshold=body.low_stock_threshold)
        reading.changed([product_id])
        return StockView.of(Product.with_stock(product_id))


class Adjustments(Resource):
    @endpoint(allow=auth.STAFF, status=201, idempotency="own")
    def post(self, product_id: UUID, body: NewAdjustment) -> MovementView:
        """Add pieces that came, or take away what is gone, and say why. Needs an Idempotency-Key; again it does nothing."""
        by, reference = str(auth.caller().user_id), str(new_id(is_required=True))
        movement = Movement.of(ADJUSTMENT, on_hand=body.quantity, reason=body.reason, reference=reference, by=by)
        try:
            entry = adjust(product_id, movement)
        except Busy as error:
            raise Unavailable("The product is changing too fast.") from error
        if (entry.on_hand, entry.reason) != (body.quantity, body.reason):
            raise KeyReused("Its first use had another body.", field=HEADER)
        reading.changed([product_id])
        return MovementView.of(entry)


class Movements(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, product_id: UUID, query: Page) -> MovementPage:
        """The product's stock ledger, newest first; a movement is in it a second or so after it was made."""
        Product.with_stock(product_id)
        entries, following = Entry.page(query, product_id)
        return MovementPage(items=[MovementView.of(entry) for entry in entries], next=following)
