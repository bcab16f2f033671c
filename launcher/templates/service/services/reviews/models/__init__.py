"""What the reviews service stores."""

from services.reviews.models.review import Review

__all__ = ["Review"]
