"""What the reviews service publishes."""

from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message


@dataclass(frozen=True)
class ReviewCreated(Message, type="review.created"):
    review_id: UUID
    user_id: UUID
