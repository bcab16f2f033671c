"""/reviews: create, list, read and delete."""

from uuid import UUID

from chassis.security import auth
from chassis.storage.outbox import emit
from chassis.web.api import Resource, endpoint
from chassis.web.pagination import Page
from contracts.reviews import ReviewCreated
from services.reviews.models import Review
from services.reviews.schemas import NewReview, ReviewPage, ReviewView


class Reviews(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self, query: Page) -> ReviewPage:
        """The caller's reviews, newest first."""
        reviews, following = Review.page_of(_user_id(), query)
        return ReviewPage(items=[ReviewView.model_validate(review) for review in reviews], next=following)

    @endpoint(allow=auth.CUSTOMER, status=201, location="/reviews/{id}", idempotency="required")
    def post(self, body: NewReview) -> ReviewView:
        """Create a review; it is published shortly afterwards."""
        review = Review.create(_user_id(), body.text)
        emit(ReviewCreated(review.id, review.user_id))
        return ReviewView.model_validate(review)


class OneReview(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, review_id: UUID) -> ReviewView:
        """One review."""
        return ReviewView.model_validate(Review.visible_to(auth.caller(), review_id))

    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, review_id: UUID) -> None:
        """Delete a review."""
        Review.visible_to(auth.caller(), review_id).delete()


def _user_id() -> UUID:
    user_id = auth.caller().user_id
    assert user_id is not None  # CUSTOMER admits users only.
    return user_id
