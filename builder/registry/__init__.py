"""Registries (distribution spec 1.1): credentials, a client, pulling.  `requests` is imported at the first request."""
