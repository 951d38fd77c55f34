"""What a webhook says of its job, in the form of the first render API."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from gpulease.contract.jobs import Result
from orchestrator.store.rows import Job
from scaling.states import JobState

Signed = Callable[[Result], Awaitable[Result]]
"""Gives a result the URLs that clients may open."""


async def payload_of(job: Job, signed: Signed) -> dict[str, Any]:
    """`{"id", "status": "success", "result_url" | "text"}`, or `{"id", "status": "failed", "error"}`."""
    if job.state is not JobState.SUCCEEDED or job.result is None:
        reason = job.fault.message if job.fault else str(job.state)
        return {"id": job.id, "status": "failed", "error": reason}
    if job.result.text is not None:
        return {"id": job.id, "status": "success", "text": job.result.text}
    files = (await signed(job.result)).files
    return {"id": job.id, "status": "success"} | ({"result_url": files[0].url} if files else {})


def encode(payload: dict[str, Any]) -> bytes:
    """The bytes that are signed and sent: in ASCII, whatever a message may quote."""
    return json.dumps(payload, separators=(",", ":")).encode()
