"""The HTTP client library that `TestClient` is made of.

The law: `httpx2`, or `httpx` with a warning, is imported here and nowhere else; everybody below
takes the name ``httpx`` from here.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from hesper.exceptions import HesperDeprecationWarning

__all__ = ["httpx", "load"]


def load() -> Any:
    """The module `httpx2`; `httpx`, with a `HesperDeprecationWarning`, if only that is installed.

    Raises:
        ImportError: neither is installed.
    """
    try:
        import httpx2

        return httpx2
    except ModuleNotFoundError:
        pass
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise ImportError(
            "TestClient needs the httpx2 package. "
            'Install it with: pip install "hesper[testclient]". '
            "AsyncTestClient needs no extra, for tests that are async."
        ) from error
    warnings.warn(
        "Using httpx with TestClient is deprecated: "
        'install httpx2, with: pip install "hesper[testclient]".',
        HesperDeprecationWarning,
        stacklevel=2,
    )
    return httpx


if TYPE_CHECKING:
    import httpx2 as httpx
else:
    httpx = load()
