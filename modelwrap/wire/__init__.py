"""Codecs: pure functions between OpenAI's format and each provider's wire. Nothing here does IO."""
