"""Models that run in this process, and where their weights come from."""
