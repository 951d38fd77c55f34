"""Webhooks: a durable outbox, read in a loop of its own and never in a job's path."""

from orchestrator.webhooks.outbox import Webhooks
from orchestrator.webhooks.schedule import Schedule
from orchestrator.webhooks.send import Sender

__all__ = ["Schedule", "Sender", "Webhooks"]
