"""Lists and searches of products, from an index in a file that follows the database."""
