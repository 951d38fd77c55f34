"""Job queues and their jobs."""

from copy import deepcopy
from typing import Any

from salad.api.replies import Asked, Handler, Problem, Reply, page, patched, queue_of
from salad.cloud import Cloud
from salad.jobs import Job, Queue
from salad.times import now
from salad.webhooks import announce

BASE = "/organizations/{organization_name}/projects/{project_name}/queues"
QUEUE = f"{BASE}/{{queue_name}}"
JOB = f"{QUEUE}/jobs/{{queue_job_id}}"
PAGE_SIZE_DEFAULT = 25


def _shown(cloud: Cloud, queue: Queue) -> dict[str, Any]:
    attached = [
        group.as_json()
        for group in cloud.groups.values()
        if group.asked.get("queue_connection", {}).get("queue_name") == queue.name
    ]
    return queue.as_json(attached)


def list_queues(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, {"items": [_shown(cloud, queue) for queue in cloud.queues.values()]})


def create_queue(cloud: Cloud, asked: Asked) -> Reply:
    queue = Queue(deepcopy(asked.body))
    if queue.name in cloud.queues:
        raise Problem(409, f"The queue name {queue.name} is in use.")
    cloud.queues[queue.name] = queue
    path = BASE.format(organization_name=cloud.config.organization, project_name=cloud.config.project)
    return Reply(201, _shown(cloud, queue), headers={"Location": f"{path}/{queue.name}"})


def get_queue(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, _shown(cloud, queue_of(cloud, asked)))


def change_queue(cloud: Cloud, asked: Asked) -> Reply:
    queue = queue_of(cloud, asked)
    queue.asked, queue.updated_at = patched(queue.asked, asked.body), now()
    return Reply(200, _shown(cloud, queue))


def delete_queue(cloud: Cloud, asked: Asked) -> Reply:
    queue = queue_of(cloud, asked)
    for job in list(queue.waiting):
        queue.cancel(job)
        announce(cloud, queue, job)
    del cloud.queues[queue.name]
    return Reply(202)


def _number(asked: Asked, name: str, default: int, highest: int) -> int:
    given = asked.query.get(name, str(default))
    if not given.isdigit() or not 1 <= int(given) <= highest:
        raise Problem(400, f"{name} must be a number from 1 to {highest}.")
    return int(given)


def list_jobs(cloud: Cloud, asked: Asked) -> Reply:
    """The newest first."""
    size = _number(asked, "page_size", PAGE_SIZE_DEFAULT, 100)
    start = (_number(asked, "page", 1, 2**31 - 1) - 1) * size
    jobs = list(reversed(queue_of(cloud, asked).jobs.values()))
    return Reply(200, {"items": [job.as_json() for job in jobs[start : start + size]]})


def create_job(cloud: Cloud, asked: Asked) -> Reply:
    queue = queue_of(cloud, asked)
    job = queue.add(deepcopy(asked.body))
    if cloud.dice.hits("job_unknown"):
        return page(502)
    names = {"organization_name": cloud.config.organization, "project_name": cloud.config.project}
    path = QUEUE.format(**names, queue_name=queue.name)
    return Reply(201, job.as_json(), headers={"Location": f"{path}/jobs/{job.id}"})


def _job_of(cloud: Cloud, asked: Asked) -> Job:
    job = queue_of(cloud, asked).jobs.get(asked.path["queue_job_id"])
    if job is None:
        raise Problem(404, "The queue job could not be found.")
    return job


def get_job(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, _job_of(cloud, asked).as_json())


def delete_job(cloud: Cloud, asked: Asked) -> Reply:
    queue, job = queue_of(cloud, asked), _job_of(cloud, asked)
    if job.status != "pending":
        raise Problem(400, f"A job that is {job.status} cannot be cancelled.")
    queue.cancel(job)
    announce(cloud, queue, job)
    return Reply(202)


ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", BASE): list_queues,
    ("POST", BASE): create_queue,
    ("GET", QUEUE): get_queue,
    ("PATCH", QUEUE): change_queue,
    ("DELETE", QUEUE): delete_queue,
    ("GET", f"{QUEUE}/jobs"): list_jobs,
    ("POST", f"{QUEUE}/jobs"): create_job,
    ("GET", JOB): get_job,
    ("DELETE", JOB): delete_job,
}
