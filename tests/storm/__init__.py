"""A storm of clients that leave: thousands of real connections to a real server, each ending elsewhere.

The law: when the last client has gone, the server holds what it held before the first came, and its
log has no error. ``python -m tests.storm --help`` says how to run it.

What a server does by itself is not Hesper's: whenever something was left or logged, the same storm
goes over a bare ASGI app (``control``) in the same server, and the table shows both. Only what the
control shows as well is forgiven, and it stays in the table.
"""
