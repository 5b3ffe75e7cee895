"""In which order lifespans are entered.

The law: an app runs once, wherever and however often it is mounted, and inside of everything that
it is mounted in: its lifespan begins after theirs, and ends before them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hesper._asgi.lifespan import Child


def each_app_once(children: Sequence[Child]) -> list[list[Child]]:
    """The lifespans in a tree, in the order to enter them.

    Args:
        children: the top of the tree.

    Returns:
        For each app all its places in the tree: it is entered once, and gives its state to all.
    """
    places: dict[tuple[int, int], list[Child]] = {}
    order: list[list[Child]] = []

    def visit(child: Child) -> None:
        # Functions may be equal and not the same, and apps may not be hashable.
        key = (id(child.app), id(getattr(child, "context", None)))
        if key in places:
            places[key].append(child)
            return
        places[key] = [child]
        for inner in reversed(getattr(child, "children", ())):
            visit(inner)
        order.append(places[key])

    # Depth first, from the end: whoever is added last is in nothing that comes before it.
    for child in reversed(children):
        visit(child)
    order.reverse()
    return order
