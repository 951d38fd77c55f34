"""Container groups and their instances."""

from copy import deepcopy
from typing import Any

from salad.api.replies import PATCH_KIND, Asked, Handler, Problem, Reply, group_of, page, patched
from salad.catalogue import BY_ID, usd_per_hour
from salad.cloud import Cloud
from salad.groups import MOVED, Group, Instance, Move, Order
from salad.times import now, seconds

BASE = "/organizations/{organization_name}/projects/{project_name}/containers"
GROUP = f"{BASE}/{{container_group_name}}"
INSTANCE = f"{GROUP}/instances/{{container_group_instance_id}}"
_ROLLS = frozenset(
    ("container", "country_codes", "liveness_probe", "networking", "readiness_probe", "startup_probe")
)
LISTED_MAX = 100
"""There is no second page of groups."""
_KEPT = frozenset(("replicas", "display_name"))


def list_groups(cloud: Cloud, asked: Asked) -> Reply:
    at = now()
    shown = [
        group.as_json()
        for group in cloud.groups.values()
        if seconds(at - group.created_at) >= cloud.knobs.list_lag_s
    ]
    return Reply(200, {"items": shown[:LISTED_MAX]})


def create_group(cloud: Cloud, asked: Asked) -> Reply:
    if cloud.dice.hits("create_lost"):
        return page(502)
    body = deepcopy(asked.body)
    _check_name(cloud, body["name"])
    _check_wishes(cloud, body)
    over = cloud.promised() + body["replicas"] > cloud.knobs.replicas_quota
    if cloud.dice.hits("capacity") or over:
        raise Problem(400, "The container replicas quota of the organization would be exceeded.")
    group = Group(cloud.config.organization, cloud.config.project, body, wanted=body["autostart_policy"])
    cloud.add(group)
    if cloud.dice.hits("create_unknown"):
        return page(502)
    path = BASE.format(organization_name=group.organization, project_name=group.project)
    return Reply(201, group.as_json(), headers={"Location": f"{path}/{group.name}"})


def _check_name(cloud: Cloud, name: str) -> None:
    if name in cloud.groups:
        raise Problem(409, f"The container group name {name} is in use.")
    if cloud.is_tombstone(name):
        raise Problem(400, f"The container group name {name} was used by a group that was deleted just now.")


def _check_wishes(cloud: Cloud, body: dict[str, Any]) -> None:
    resources = body["container"]["resources"]
    unknown = [one for one in resources.get("gpu_classes") or () if one not in BY_ID]
    if unknown:
        raise Problem(400, f"There is no GPU class {unknown[0]}.")
    priority = body["container"].get("priority") or "high"
    if usd_per_hour(resources, priority) is None:
        raise Problem(400, f"The GPU class is not offered at priority {priority}.")
    queue = body.get("queue_connection")
    if queue and queue["queue_name"] not in cloud.queues:
        raise Problem(400, f"There is no queue {queue['queue_name']}.")


def get_group(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, group_of(cloud, asked).as_json())


def change_group(cloud: Cloud, asked: Asked) -> Reply:
    group = group_of(cloud, asked)
    change = {name: value for name, value in asked.body.items() if value is not None or name not in _KEPT}
    changed = patched(group.asked, change)
    _check_wishes(cloud, changed)
    if changed["replicas"] > group.replicas:
        more = changed["replicas"] - max(group.replicas if group.wanted else 0, len(group.instances))
        if cloud.promised() + more > cloud.knobs.replicas_quota:
            raise Problem(400, "The container replicas quota of the organization would be exceeded.")
    _tell_of_change(group, changed)
    group.asked, group.updated_at = changed, now()
    if _ROLLS & change.keys():
        group.version += 1
        group.tell(f"Container Group Updated (Version {group.version})")
        for instance in group.staying():
            instance.order(Order(Move.MACHINE, MOVED))
    cloud.settle(group)
    return Reply(200, group.as_json(), kind=PATCH_KIND)


def _tell_of_change(group: Group, changed: dict[str, Any]) -> None:
    before, after = group.replicas, changed["replicas"]
    if before != after:
        group.tell(f"Container Group Desired Replica Count Updated from {before} to {after}")


def delete_group(cloud: Cloud, asked: Asked) -> Reply:
    cloud.delete(group_of(cloud, asked))
    return _accepted(cloud)


def _accepted(cloud: Cloud) -> Reply:
    return page(502) if cloud.dice.hits("stop_unknown") else Reply(202)


def start_group(cloud: Cloud, asked: Asked) -> Reply:
    group = group_of(cloud, asked)
    if group.wanted or group.deleting:
        raise Problem(400, "The container group is started already.")
    if cloud.promised() + group.replicas > cloud.knobs.replicas_quota:
        raise Problem(400, "The container replicas quota of the organization would be exceeded.")
    cloud.start(group)
    return Reply(202)


def stop_group(cloud: Cloud, asked: Asked) -> Reply:
    group = group_of(cloud, asked)
    if not group.wanted or group.deleting:
        raise Problem(400, "The container group is stopped already.")
    cloud.stop(group)
    return _accepted(cloud)


def list_instances(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, {"instances": [one.as_json() for one in group_of(cloud, asked).instances]})


def _instance_of(cloud: Cloud, asked: Asked) -> Instance:
    wanted = asked.path["container_group_instance_id"]
    for instance in group_of(cloud, asked).instances:
        if instance.id == wanted:
            return instance
    raise Problem(404, "The container group instance could not be found.")


def get_instance(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(202, _instance_of(cloud, asked).as_json())


def change_instance(cloud: Cloud, asked: Asked) -> Reply:
    instance = _instance_of(cloud, asked)
    if "deletion_cost" in asked.body:
        instance.deletion_cost = asked.body["deletion_cost"] or 0
    return Reply(200, instance.as_json())


def _mover(verb: str, order: Order) -> Handler:
    def move(cloud: Cloud, asked: Asked) -> Reply:
        instance = _instance_of(cloud, asked)
        if not cloud.may_move(verb):
            raise Problem(429, f"Too many {verb}s in the last minute.")
        instance.order(order)
        return Reply(202)

    return move


def system_logs(cloud: Cloud, asked: Asked) -> Reply:
    return Reply(200, {"items": list(group_of(cloud, asked).events)})


ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", BASE): list_groups,
    ("POST", BASE): create_group,
    ("GET", GROUP): get_group,
    ("PATCH", GROUP): change_group,
    ("DELETE", GROUP): delete_group,
    ("POST", f"{GROUP}/start"): start_group,
    ("POST", f"{GROUP}/stop"): stop_group,
    ("GET", f"{GROUP}/instances"): list_instances,
    ("GET", INSTANCE): get_instance,
    ("PATCH", INSTANCE): change_instance,
    ("POST", f"{INSTANCE}/reallocate"): _mover(
        "reallocation", Order(Move.MACHINE, "Instance Reallocated by User")
    ),
    ("POST", f"{INSTANCE}/recreate"): _mover("recreate", Order(Move.CREATE, "Instance Recreated")),
    ("POST", f"{INSTANCE}/restart"): _mover("restart", Order(Move.START, "Instance Restarted")),
    ("GET", f"{GROUP}/system-logs"): system_logs,
}
