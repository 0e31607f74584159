"""The API's conventions: errors, strict input, cursors, idempotency, schema, health (design api.md)."""
