"""Calls of the render task surface, for its tests: answers checked, a project with a model, tasks as far as wanted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "orchestrator"))
from blend_files import small_blend

BLENDER = {"engine": "blender", "backend": "test", "models": []}


async def ok(reply):
    reply = await reply
    assert reply.status_code == 200, reply.text
    assert reply.json()["success"] is True
    return reply.json()["data"]


async def refused(reply, status):
    reply = await reply
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert (body["success"], body["message"]) == (False, body["error"])
    return body["message"]


async def studio(someone, project="studio", **body):
    """A project with the model `car` in it."""
    await ok(someone.http.post("/api/project/create", json={"projectId": project, **body}))
    raw = small_blend(("Red", "Blue"), ("Front", "Side"), frame=12)
    query = {"name": "car.blend", "project": project}
    made = await someone.http.post("/v1/assets", params=query, content=raw)
    assert made.status_code == 201, made.text
    return made.json()


def task_of(project="studio", model="car", swaps=(), quality="1k", **body):
    materials = [{"originalMaterialName": old, "newMaterialName": new} for old, new in swaps]
    payload = {"modelName": model, "renderParams": {"quality": quality}, "materialList": materials}
    return {"projectId": project, "payload": payload, "clientId": "c-1", **body}


async def submit(someone, **asked):
    return (await ok(someone.http.post("/api/render/tasks", json=task_of(**asked))))["taskId"]


async def begun(people, someone, **asked):
    """A task that runs, its agent, and what that claimed."""
    task_id = await submit(someone, **asked)
    agent = await people.world.agent(BLENDER)
    return task_id, agent, await agent.claim()


async def done(people, someone, pictures=2, **asked):
    task_id, agent, assigned = await begun(people, someone, **asked)
    files = []
    for number in range(pictures):
        name = f"frame_000012_cam{number}.jpg"
        grant = (await agent.post(f"attempts/{assigned['attempt']}/upload", name=name, size_bytes=4)).json()
        assert (await people.nobody.put(grant["url"], content=b"jpg%d" % number)).status_code == 204
        files.append({"name": name, "key": grant["key"], "size_bytes": 4, "content_type": "image/jpeg"})
    result = {"backend": "test", "data": {"cameras": ["Front", "Side"]}, "files": files}
    assert (await agent.finish(assigned, result=result)).status_code == 200
    return task_id
