"""Models of the transformers library, computed in this process or in one of its own."""
