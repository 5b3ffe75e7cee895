"""What a client accepts: the `Accept-Encoding` field, as a choice (RFC 9110 section 12.5.3).

The law: whatever a client sends, there is an answer, in linear time. A member that breaks the grammar
is passed over, so a coding is only used if the client clearly takes it.
"""

import re
from collections.abc import Sequence

from hesper._grammar import TCHAR

__all__ = ["choose_encoding", "parse_accept_encoding"]

IDENTITY = "identity"

# RFC 9110 section 12.5.3, codings [ weight ]; section 12.4.2 for the weight. Commas cannot stand in
# either, so the field is split at them first.
_MEMBER = re.compile(
    rf"[ \t]*+([{TCHAR}]++)[ \t]*+(?:;[ \t]*+[qQ]=(0(?:\.[0-9]{{0,3}}+)?|1(?:\.0{{0,3}}+)?)[ \t]*+)?"
)

# RFC 9110 sections 8.4.1.1 and 8.4.1.3: recipients take the old names for the same codings.
_ALIASES = {"x-gzip": "gzip", "x-compress": "compress"}


def parse_accept_encoding(value: str) -> dict[str, float]:
    """Read an `Accept-Encoding` field value.

    Returns:
        The weights, from 0 (not acceptable) to 1, by coding in lower case, `identity` and `*` among
        them. Of a coding that is named twice the last weight counts. Never raises.
    """
    weights: dict[str, float] = {}
    for member in value.split(","):
        found = _MEMBER.fullmatch(member)
        if found:
            coding = found[1].lower()
            weights[_ALIASES.get(coding, coding)] = 1.0 if found[2] is None else float(found[2])
    return weights


def choose_encoding(value: str | None, offered: Sequence[str]) -> str | None:
    """Choose the content coding that a client likes best.

    Args:
        value: the field value; several lines joined with commas; None if there is none.
        offered: the codings that can be had, in lower case, the best first: that order decides
            between those that the client likes equally well.

    Returns:
        One of `offered`, or None: send the content as it is. That is also the answer where the client
        refuses `identity` and everything offered: the section lets a server disregard that, and
        something is more use than a 406.
    """
    if not value:
        # An absent field accepts anything, says the RFC; but those who do not send it are programs
        # that would not decode what they get. An empty one wants no coding.
        return None
    weights = parse_accept_encoding(value)
    others = weights.get("*", 0.0)
    # Not counted among the others of "*": it is no coding, and needs no weight to be acceptable.
    best, chosen = weights.get(IDENTITY, 0.0), None
    for coding in offered:
        weight = weights.get(coding, others)
        if weight > best or (weight == best > 0 and chosen is None):
            best, chosen = weight, coding
    return chosen
