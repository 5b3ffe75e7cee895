"""Where Hesper is not Starlette: other names, better behaviour, and what there is not."""

RENAMED = {
    "applications.Starlette": "applications.Hesper",
    "exceptions.StarletteDeprecationWarning": "exceptions.HesperDeprecationWarning",
}

DIFFERENT = {
    "formparsers.FormMessage": "deprecated in Starlette 1.10: an enum of a parser's inner steps",
    "middleware.body_limit.RequestBodyLimitResponder": (
        "counts ASGI messages for one request; here the limit is a property of the request's body"
    ),
}
"""Names that do not exist, and why; at most ten."""

MEMBERS = {
    "middleware.gzip.GZipResponder.apply_compression": "the body is a value: see `_codecs`",
    "middleware.gzip.GZipResponder.compressor": "one for each response, not one for each request",
    "middleware.gzip.IdentityResponder.apply_compression": "nothing is applied",
    "middleware.gzip.IdentityResponder.send_with_compression": (
        "a response is a value here: there is no `send` to wrap"
    ),
    "middleware.wsgi.WSGIResponder.sender": "the rim sends; the app's chunks come by a hand-over",
    "responses.StreamingResponse.listen_for_disconnect": (
        "the rim listens, for every response; nothing to override"
    ),
    "responses.StreamingResponse.stream_response": (
        "the rim iterates `body_iterator` and sends; replace that"
    ),
}
"""Attributes and parameters of classes that are otherwise, and why."""

BETTER = {
    "applications.Starlette": (
        "lifespans of mounted apps run; the 500 response passes through the user's middleware; "
        "functions may be middleware"
    ),
    "authentication.AuthenticationError": "`on_error` may be async",
    "background.BackgroundTasks": "one that fails does not stop the next",
    "concurrency.run_in_threadpool": (
        "context variables that the function sets come back; a native cancel leaves no thread behind"
    ),
    "concurrency.run_until_first_complete": "its tasks have ended when it returns",
    "convertors.Convertor": "a `ValueError` of `convert` means that the path does not match",
    "datastructures.URL": "a malformed `Host` header is a clear 400",
    "datastructures.UploadFile": "what is not read is removed on every ending",
    "exceptions.HTTPException": (
        "answered when a middleware raises it, too; malformed JSON is one, with 400"
    ),
    "formparsers.MultiPartParser": "an upload that breaks off is `ClientDisconnect`, no parse error",
    "middleware.Middleware": "or the function itself, `async def m(request, call_next)`",
    "middleware.base.BaseHTTPMiddleware": (
        "a plain call: no task, no stream; context variables flow both ways; trailers and unknown "
        "messages pass; `dispatch_websocket` for WebSockets; 0.8 µs where Starlette's takes 200"
    ),
    "middleware.body_limit.RequestBodyLimitMiddleware": (
        "also overrules a foreign app that takes the 413 for a parse error"
    ),
    "middleware.cors.CORSMiddleware": "its headers are on error responses as well",
    "middleware.exceptions.ExceptionMiddleware": "an app needs none: handlers are asked at each layer",
    "middleware.gzip.GZipMiddleware": (
        "quality values count; `CompressionMiddleware` adds Brotli and Zstandard"
    ),
    "middleware.opentelemetry.OpenTelemetryMiddleware": (
        "spans end with the body; a client that leaves is no error; durations are recorded"
    ),
    "middleware.wsgi.WSGIMiddleware": "streams both ways, and is not deprecated",
    "requests.ClientDisconnect": "an `OSError`, as ASGI asks of `send`",
    "requests.Request": (
        "`disconnected`, `wait_disconnected()`; `is_disconnected()` loses nothing; a body can be "
        "read again in every layer; `url_path_for` gives a path without a host"
    ),
    "responses.FileResponse": "pathsend, ranges and conditions in one; stops when the client leaves",
    "responses.Response": "`body_iterator` on all: reading gives the bytes, setting it a stream",
    "responses.StreamingResponse": (
        "the iterator is closed once, in its own task and context, whatever the ending; `finally` "
        "may await; trailers"
    ),
    "routing.Host": "lifespans run; matching is by table",
    "routing.Mount": "lifespans of mounted apps run; slash redirects work",
    "routing.Router": (
        "cost does not grow with the number of routes; `Allow` has all methods; "
        "`exception_handlers` of its own"
    ),
    "staticfiles.StaticFiles": "`cache_control`, `precompressed`, `fallback` for one-page apps",
    "templating.Jinja2Templates": "async environments are rendered without blocking",
    "testclient.TestClient": (
        "streams while the app produces; can leave; WebSocket receives may time out; "
        "`AsyncTestClient` beside it, without an extra"
    ),
    "types.ExceptionHandler": "may be annotated with its own exception class",
    "types.HTTPExceptionHandler": "may be annotated with its own exception class",
    "types.WebSocketExceptionHandler": "may be annotated with its own exception class",
    "websockets.WebSocket": (
        "`send` after the client left raises `WebSocketDisconnect` with the client's own code"
    ),
}
"""What is the same, and does more."""
