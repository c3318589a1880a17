"""A service that decides, remembers, pays and serves; it asks :mod:`providers` how to speak."""
