"""HTTP as `AsyncTestClient` speaks it: URLs, headers, cookies, bodies, requests and responses.

Why there is such a thing, beside `httpx2`: who tests on the loop of the test needs no HTTP library,
since nothing goes over a network. So the asynchronous client needs no extra. It does not use
`httpx2` where that is installed either: a class that changes with what is installed breaks tests
the day somebody installs something else.

The law: the names are those of `httpx2`, and so is what they mean, as far as a test of an
application asks (`tests/unit/test_async_testclient_parity.py` compares the two). Left out is what
serves a client of foreign servers: `Auth` classes of several steps, event hooks, proxies, `sse()`.
Mistakes of the caller are `UsageError`, which, like the errors that it stands for, is a
`RuntimeError`.

From the bottom: `errors`, `headers`, `urls`, `cookies`; `contents` (what is sent), `stages` (how
what comes is decoded), `reading`; then `requests`, `redirects`, `heads` and `responses`.
"""
