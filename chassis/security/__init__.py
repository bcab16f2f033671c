"""Authentication and authorization: tokens, API keys, keyrings, revocation."""
