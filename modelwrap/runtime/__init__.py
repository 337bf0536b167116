"""How the world is touched: the two colours of a call, the HTTP client under them, and recordings in their place."""
