"""Hesper: an ASGI toolkit that gets endings right."""

__version__ = "0.1.0"
