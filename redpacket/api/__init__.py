"""HTTP interface of red packets (design api.md)."""
