"""Finding products: lists in an order, search by words, facets. Who does the finding is chosen by asking the database."""
