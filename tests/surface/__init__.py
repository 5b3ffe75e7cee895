"""Starlette's surface, recorded, and Hesper's beside it."""
