"""The parts of `hesper.testclient`.

From the bottom: `strict` and `exchanges` (the server's side, and what a client does that waits),
`apps` (the application and its scopes), `outcomes`, `base` (the lifespan). Then, for the
asynchronous client: `http` (requests and responses), `sockets`, `async_bodies`, `defaults`,
`sender`, `async_client`. And for the synchronous one, which is made of httpx2: `library`,
`responses`, `sync_sockets`, `transports`, `sync_client`.
"""
