"""Hosted agents: what the process that runs them asks of the orchestrator.

Where a rented machine cannot run our image, its agent runs beside the orchestrator. One host process a provider
runs all of them as tasks; it asks `GET /internal/hosts/{provider}/duties` every `HOST_PERIOD_S`, with its own
key as `X-Internal-API-Key`. Each duty is one worker, whose agent speaks the agent protocol under that worker's id
and key, like any other. A duty that is not listed any more ends.
"""

from gpulease.contract.base import Lenient

HOST_PERIOD_S = 1.0


class Duty(Lenient):
    """One worker to be an agent for. `address` is its machine's: a URL or a bare host name, as the provider gave it."""

    worker_id: str
    worker_key: str
    gpu_class: str
    address: str


class Duties(Lenient):
    """`news` are ids of provider's queue jobs that a webhook told of lately: whoever waits for one looks at once."""

    duties: tuple[Duty, ...] = ()
    news: tuple[str, ...] = ()
