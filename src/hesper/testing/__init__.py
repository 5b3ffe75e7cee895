"""What Hesper is tested with, and any ASGI application can be.

`ScriptedServer` plays an ASGI server in a `Dialect`, and its clients leave at a chosen point;
`VirtualTimeLoop` makes time on asyncio jump. Nothing here needs an application made with Hesper.
"""

from hesper.testing._dialect import Dialect
from hesper.testing._exchange import (
    Runaway,
    ServerClientDisconnected,
    ServerTransportClosed,
    StillRunning,
)
from hesper.testing._lifespan import LifespanFailed
from hesper.testing.client import Client
from hesper.testing.clock import (
    VirtualTimeLoop,
    trio_virtual_time_options,
    virtual_time_loop_factory,
)
from hesper.testing.dialects import DIALECTS
from hesper.testing.result import Result, Sent
from hesper.testing.script import Script, ScriptedServer

__all__ = [
    "DIALECTS",
    "Client",
    "Dialect",
    "LifespanFailed",
    "Result",
    "Runaway",
    "Script",
    "ScriptedServer",
    "Sent",
    "ServerClientDisconnected",
    "ServerTransportClosed",
    "StillRunning",
    "VirtualTimeLoop",
    "trio_virtual_time_options",
    "virtual_time_loop_factory",
]
