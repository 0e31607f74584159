"""The wallet endpoints."""
