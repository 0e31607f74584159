"""Settings by environment: base, dev (embedded), test, production. Choose with DJANGO_SETTINGS_MODULE."""
