"""The demo world (a management command loads it) and the demo story (an HTTP client that imports no app)."""
