"""Log-in, groups, and how requests are authenticated."""
