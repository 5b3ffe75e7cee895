"""Writes docs/reference/starlette.md: ``python -m tests.surface``."""

from tests.surface.page import PAGE, text

PAGE.write_text(text(), "utf-8")
