"""Applications of other toolkits as their users write them, to see what a sweep says of them.

No bug is planted: each does what the documentation of its toolkit shows. What the sweep found is in
`docs/explanation/sweep.md`.
"""
