"""A development mail server that delivers nothing and shows every mail."""
