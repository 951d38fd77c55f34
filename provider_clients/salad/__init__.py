"""SaladCloud: workers as container groups, jobs in queues. News of them by webhook are read in `webhook`."""

from provider_clients.salad.account import SaladAccount
from provider_clients.salad.client import Salad
from provider_clients.salad.config import SaladConfig
from provider_clients.salad.queue import QueueEvent, QueueJob, QueueStatus, SaladQueue

__all__ = [
    "QueueEvent",
    "QueueJob",
    "QueueStatus",
    "Salad",
    "SaladAccount",
    "SaladConfig",
    "SaladQueue",
]
