"""Path templates, and the table that finds the routes a path matches.

The law of a template: `compile_path` says what it matches, as one regular expression. The law of
`PathTable`: `lookup` gives exactly the entries whose expression matches the path, in the order of
their declaration, in time that depends on the path and on what it matches, not on the number of
routes, and that is linear in the path for any mix of the built-in convertors.

How that holds, and where, from the bottom:

1. `templates`: what a template says.
2. `fields`: a convertor that cannot match "/" is *confined*. Up to the first one that is not, a
   template matches a path segment by segment, so these segments form a tree; equal ones share a
   node.
3. `sequences`: a segment is a literal (one dict hit), one parameter, or a mix of both. What follows
   the last confined segment is a rest, matched against the rest of the path; a Mount is the rest
   "{path:path}". A parameter between two literals needs no search: its text is what the literals
   leave. Several are searched with a regular expression while that is cheap, and without
   backtracking after.
4. `entries`: where a template ends. A rest with a convertor about which nothing can be proven is
   matched with the template's own expression, at the cost which the author of that convertor chose.
5. `nodes` and `tree`: the walk through the tree decides. Mixes and rests are found by the literal
   text at their two ends.
6. `table`: what answers most lookups without the walk.

What still costs more with every route, because nothing tells the candidates apart: mixes and rests
with the same literal ends at the same node, and templates that differ only in which of their
segments are parameters. Both as in Starlette, and neither is more than one visit per route.
"""

from hesper._paths.fields import Read
from hesper._paths.table import Matches, PathTable
from hesper._paths.templates import Pattern, compile_path, replace_params

__all__ = ["Matches", "PathTable", "Pattern", "Read", "compile_path", "replace_params"]
