"""What reviews does about messages."""

from chassis.messaging.handlers import Handlers
from contracts.reviews import ReviewCreated
from contracts.users import UserDeleted
from services.reviews.models import Review

handlers = Handlers("reviews")


@handlers.on(ReviewCreated)
def review_created(event: ReviewCreated) -> None:
    review = Review.find(event.review_id)
    if review is not None:  # It may have been deleted meanwhile.
        review.publish()


@handlers.on(UserDeleted)
def user_deleted(event: UserDeleted) -> None:
    Review.erase(event.user_id)
