"""The engine of `hesper.testing.sweep`.

The modules, from the bottom: `frames` reads suspended coroutines; `watch` counts their suspensions
and strikes at one; `leftovers` sees what a run leaves, and `scopes` its cancel scopes; `loops` has
the event loops; `play` holds what a run is given and states, `stage` plays it, `run` makes it;
`checks` turns what it states into findings, `report` gathers those; `usual` judges the undisturbed
run, and `plan` says which runs are made; `requests` and `middleware` are for users.
"""
