"""Who calls: tokens, API keys, the keys behind them, and tokens that were revoked."""
