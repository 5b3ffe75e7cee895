"""The engine of `hesper.testing.sweep`.

The modules, from the bottom: `frames` reads suspended coroutines; `watch` counts their suspensions
and strikes at one; `leftovers` sees what a run leaves; `loops` runs one; `play` is one run, start to
end; `checks` turns what it left into findings; `report` gathers those; `plan` says which runs.
"""
