"""A gallery of endings that go wrong, as users reported them, for the sweep to find.

Each module has two applications, `app` with the bug and `mended` without it. Look at one with
`hesper sweep examples.sweep.no_response:app /report`.

| module | bug (in) | finds |
|---|---|---|
| `abandoned_generator` | a generator in a generator is left (FastAPI) | `generator-left` |
| `answer_in_the_middle` | an error page in mid-response (bare ASGI) | `sent-twice` |
| `answered_twice` | who has answered answers again (Starlette) | `sent-twice` |
| `cut_cleanup` | the `finally` of a stream is cut (Litestar) | `cleanup-cut` |
| `deaf_websocket` | a WebSocket that only sends (Starlette) | `hang` |
| `fire_and_forget` | `create_task` in an endpoint (FastAPI) | `task-left` |
| `half_as_whole` | a broken-off body is ended well (bare ASGI) | `truncated` |
| `idle_stream` | a stream that nobody tells (Starlette) | `hang` |
| `left_file` | the file of a broken-off upload (Hesper) | `file-left` |
| `left_listener` | a task that waits in `receive` (FastAPI) | `receive-left` |
| `logged_leaving` | a leaving is logged as an error (Starlette) | `logged` |
| `lost_background` | background work is cancelled (Starlette) | `check` |
| `lost_connections` | connections do not come back (FastAPI) | `cleanup-cut` |
| `no_response` | "No response returned." (Starlette) | `raised` |
| `open_scope` | a timeout around a `yield` (Starlette) | `scope-left` |
| `swallowed_cancel` | a cancellation taken for a timeout (FastAPI) | `cancel-swallowed` |

Besides the two, a module says what to sweep, and what the sweep finds:

- `REQUEST`: method, path and body (bytes, or parts and pauses); the method may be `WEBSOCKET`.
- `FINDS`: the code of the violation, a key of `hesper.testing.sweep.CODES`.
- `BACKENDS`: where it is not both: an application that uses asyncio itself.
- `before` and `check`: options of the sweep, where its own checks cannot know what was promised.
"""
