"""What belongs to the organization: quotas, GPU classes, availability and the webhooks' secret."""

from salad.api.replies import Asked, Handler, Problem, Reply
from salad.catalogue import BY_ID, CLASSES
from salad.cloud import Cloud
from salad.times import now, stamp

BASE = "/organizations/{organization_name}"
AVAILABILITY = f"{BASE}/availability"


def quotas(cloud: Cloud, asked: Asked) -> Reply:
    verbs = ("reallocations", "recreates", "restarts")
    moves = {f"max_container_group_{verb}_per_minute": cloud.knobs.moves_per_minute for verb in verbs}
    replicas = {
        "container_replicas_quota": cloud.knobs.replicas_quota,
        "container_replicas_used": cloud.used(),
    }
    times = {"create_time": stamp(cloud.secrets[0][0]), "update_time": stamp(now())}
    return Reply(200, {"container_groups_quotas": {**replicas, **moves}, **times})


def gpu_classes(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, {"items": [one.as_json() for one in CLASSES]})


def gpu_availability(cloud: Cloud, asked: Asked) -> Reply:
    if any(one not in BY_ID for one in asked.body["gpu_classes"]):
        raise Problem(400, "There is no such GPU class.")
    free = max(0, cloud.knobs.replicas_quota - cloud.used())
    priorities = ("high", "medium", "low", "batch")
    return Reply(200, {**{f"available_gpu_{one}": free for one in priorities}, "on_call_gpu": free})


def cpu_availability(cloud: Cloud, asked: Asked) -> Reply:
    free = max(0, cloud.knobs.replicas_quota - cloud.used())
    return Reply(200, {"available_cpu_batch": free, "on_call_cpu": free})


def secret_key(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, {"secret_key": cloud.secrets[-1][1]})


def new_secret_key(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, {"secret_key": cloud.rotate()})


ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", f"{BASE}/quotas"): quotas,
    ("GET", f"{BASE}/gpu-classes"): gpu_classes,
    ("GET", f"{BASE}/webhook-secret-key"): secret_key,
    ("POST", f"{BASE}/webhook-secret-key"): new_secret_key,
    ("POST", f"{AVAILABILITY}/sce-gpu-availability"): gpu_availability,
    ("POST", f"{AVAILABILITY}/sce-cpu-availability"): cpu_availability,
}
