"""Two Starlette apps, and what became of them by changing their imports."""
