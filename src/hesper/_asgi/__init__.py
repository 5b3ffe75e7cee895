"""The rim: the only code that awaits a server's ``receive`` or ``send``.

Modules, from the bottom: ``states`` (the life cycle, as two tables), ``exchange`` (one request's
life: the pump, the body, the disconnect, the sends), ``bodies`` (a body is closed once),
``http``, ``websocket``, ``lifespan`` (the three protocols) and ``bridge`` (a foreign app as a value).
"""
