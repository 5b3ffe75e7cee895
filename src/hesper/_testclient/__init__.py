"""The parts of `hesper.testclient`.

From the bottom: `library` (httpx2), `strict` and `exchanges` (the server's side, and what a client
does that waits), `apps` (the application and its scopes), `responses`, `sockets`, `transports`,
`base` (the lifespan), and the two clients on top.
"""
