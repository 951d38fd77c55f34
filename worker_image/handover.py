"""Outputs that go to an orchestrator's storage on another agent's behalf.

Nobody can fetch a file from a container behind a job queue. So whoever queued the job sends along what its own agent
would upload with, and the container uploads as that agent.
"""

from gpulease.contract.base import Lenient
from gpulease.contract.engines import Url
from gpulease.contract.jobs import OutputFile
from worker_image.engines.base import MadeFile
from worker_image.faults import HostFault
from worker_image.link import Link, LinkError
from worker_image.upload import upload

UPLOAD_S_MAX = 120.0


class Handover(Lenient):
    """Who speaks for the attempt, and where. The key is bound to that worker."""

    orchestrator: Url
    worker_id: str
    worker_key: str
    attempt: int
    incarnation: str


async def hand_over(to: Handover, files: tuple[MadeFile, ...]) -> tuple[OutputFile, ...]:
    """Raises: HostFault: one could not be stored, or the attempt is over."""
    link = Link(to.orchestrator, to.worker_id, to.worker_key)
    try:
        return tuple(
            [await upload(link, to.attempt, to.incarnation, file, for_s=UPLOAD_S_MAX) for file in files]
        )
    except LinkError as error:
        raise HostFault("upload_refused", str(error)) from error
    finally:
        await link.aclose()
