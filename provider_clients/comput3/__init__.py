"""Comput3.AI: nodes with services of their own, leased until a fixed time, under an account without tags."""

from provider_clients.comput3.client import Comput3
from provider_clients.comput3.config import Comput3Config, Patience

__all__ = ["Comput3", "Comput3Config", "Patience"]
