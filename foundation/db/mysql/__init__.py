"""Django's MySQL backend with one round trip less per transaction."""
