"""Models made of Models: what wraps a call has the shape of a call."""
