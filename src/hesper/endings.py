from dataclasses import dataclass


@dataclass
class RequestEnded:
    pass
