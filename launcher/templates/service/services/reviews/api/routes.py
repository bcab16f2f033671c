"""Every URL of the reviews service."""

from services.reviews.api.reviews import OneReview, Reviews

ROUTES = {
    "/reviews/": Reviews,
    "/reviews/<uuid:review_id>": OneReview,
}
