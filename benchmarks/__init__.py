"""Hesper beside its peers: CPU time per request over a raw ASGI app, in one process and one run.

Only figures of the same run are compared: `python -m benchmarks` runs every case, and
`python -m benchmarks routed bridge` runs those named.
"""
