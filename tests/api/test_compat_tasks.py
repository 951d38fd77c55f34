"""The render task surface over our verbs: tasks, their pictures, lists and logs, and refusals."""

import pytest
from people_world import people_of
from tasks_world import begun, done, ok, refused, small_blend, studio, submit, task_of

UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def people(world):
    return people_of(world)


async def test_a_task_is_every_camera_as_a_jpeg_in_cycles(people):
    ada = await people.add("submitter")
    asset = await studio(ada)
    task_id = await submit(ada, swaps=[("Red", "Blue")], quality="4K")
    job = (await ada.http.get(f"/v1/jobs/{task_id}")).json()
    assert job["input"] == {
        "file_url": asset["latest"]["url"],
        "frames": "12",
        "cameras": "all",
        "output": "JPEG",
        "pack": "each",
        "engine": "CYCLES",
        "resolution": "4k",
        "samples": 32,
        "materials": [{"original": "Red", "replacement": "Blue"}],
    }
    assert (job["project"], job["max_time"], job["complete_in"]) == ("studio", 3600, 86_400)
    assert job["metadata"] == {"modelName": "car.blend", "version": 1, "clientId": "c-1"}


async def test_a_task_goes_from_pending_to_completed(people):
    # A plan would hold the second task for the machine of the first, which has its model.
    await people.world.orchestrator.parts.loops.stop()
    ada = await people.add("submitter")
    await studio(ada)
    task_id, agent, assigned = await begun(people, ada)
    held = await agent.post(f"attempts/{assigned['attempt']}/progress", phase="inferring", progress=0.5)
    assert held.status_code == 200
    half = await ok(ada.http.get(f"/api/tasks/{task_id}/status"))
    assert (half["status"], half["progress"], half["result"]) == ("processing", 50, None)
    assert half == await ok(ada.http.get(f"/api/render/tasks/{task_id}"))
    assert isinstance(half["startedAt"], int)
    waiting = await submit(ada)
    still = await ok(ada.http.get(f"/api/tasks/{waiting}/status"))
    assert (still["status"], still["progress"], still["completedAt"]) == ("pending", 0, None)
    await ok(ada.http.post(f"/api/render/tasks/{waiting}/cancel"))
    ended = await done(people, ada, model="car@1")
    told = await ok(ada.http.get(f"/api/tasks/{ended}/status"))
    assert (told["status"], told["progress"], told["error"]) == ("completed", 100, None)
    assert [one["name"] for one in told["result"]["pictures"]] == [
        "frame_000012_cam0.jpg",
        "frame_000012_cam1.jpg",
    ]


async def test_a_failure_says_why(people):
    ada = await people.add("submitter")
    await studio(ada)
    task_id, agent, assigned = await begun(people, ada)
    await agent.finish(
        assigned, fault={"kind": "job", "code": "blend_invalid", "message": "It cannot be opened."}
    )
    told = await ok(ada.http.get(f"/api/tasks/{task_id}/status"))
    assert (told["status"], told["error"]) == ("failed", "It cannot be opened.")
    assert "cannot be opened" in await refused(ada.http.get(f"/api/resource/img/{task_id}"), 409)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"project": "nonesuch"}, "projectId"),
        ({"model": "boat"}, "payload.modelName: there is no model 'boat'"),
        ({"model": "car@7"}, "has no version 7"),
        ({"model": "car@x"}, "payload.modelName"),
        ({"model": ""}, "payload.modelName"),
        ({"model": "table"}, "only .blend files can be rendered"),
        ({"quality": "8k"}, "quality"),
        (
            {"swaps": [("Gren", "Blue")]},
            "payload.materialList.0.originalMaterialName: the model has no material 'Gren'",
        ),
        ({"swaps": [("Red", "Gold")]}, "it has: Blue, Red"),
        ({"callbackUrl": "http://10.0.0.1/hook"}, "callbackUrl"),
        ({"callbackUrl": "ftp://example.com"}, "callbackUrl"),
    ],
)
async def test_what_is_wrong_with_a_task_is_said(people, asked, said):
    ada = await people.add("submitter")
    await studio(ada)
    table = {"name": "table", "project": "studio", "file": "table.obj"}
    assert (await ada.http.post("/v1/assets", params=table, content=b"v 0 0 0\n")).status_code == 201
    assert said in await refused(ada.http.post("/api/render/tasks", json=task_of(**asked)), 422)
    assert (await ok(ada.http.get("/api/render/tasks_list")))["total"] == 0


async def test_models_are_found_by_version_by_ending_and_among_ones_own(people):
    ada = await people.add("submitter")
    await studio(ada, model="car")
    newer = {"name": "car.blend", "project": "studio"}
    assert (await ada.http.post("/v1/assets", params=newer, content=small_blend())).status_code == 201
    own = await ada.http.post("/v1/assets", params={"name": "boat"}, content=small_blend())
    versions = {}
    for name in ("car", "car.blend", "car@1", None, "boat", "boat.blend"):
        job = (await ada.http.get(f"/v1/jobs/{await submit(ada, model=name)}")).json()
        versions[name] = job["metadata"]["version"]
        if name == "boat":
            assert job["input"]["file_url"] == own.json()["latest"]["url"]
    assert versions == {"car": 2, "car.blend": 2, "car@1": 1, None: 2, "boat": 1, "boat.blend": 1}


async def test_the_bearer_is_looked_at_and_rights_are_kept(people):
    ada, bob, eve, vera = [await people.add(one) for one in ("submitter", "submitter", "submitter", "viewer")]
    await studio(ada)
    task_id = await submit(ada)
    for member in (bob, vera):
        path = f"/v1/projects/studio/members/{member.id}"
        assert (await ada.http.put(path, json={"right": "read"})).status_code == 200
    wrong = people.client("not-a-key")
    assert "key" in await refused(wrong.post("/api/render/tasks", json=task_of()), 401)
    await refused(people.nobody.get(f"/api/tasks/{task_id}/status"), 401)
    await refused(eve.http.post("/api/render/tasks", json=task_of()), 422)
    await refused(bob.http.post("/api/render/tasks", json=task_of()), 422)
    await refused(vera.http.post("/api/render/tasks", json=task_of()), 403)
    for path in (
        "render/tasks/{}",
        "tasks/{}/status",
        "render/tasks/{}/logs",
        "task/logger/{}",
        "resource/img/{}",
    ):
        await refused(eve.http.get("/api/" + path.format(task_id)), 404)
    await refused(eve.http.get("/api/logs", params={"taskId": task_id}), 404)
    for path in ("render/terminate", "render/client-callback", "logs/error-callback"):
        await refused(eve.http.post(f"/api/{path}", json={"taskId": task_id}), 404)
        await refused(bob.http.post(f"/api/{path}", json={"taskId": task_id}), 403)
    await refused(eve.http.post(f"/api/render/tasks/{task_id}/cancel"), 404)
    await refused(bob.http.post(f"/api/render/tasks/{task_id}/cancel"), 403)
    assert (await ok(bob.http.get(f"/api/tasks/{task_id}/status")))["status"] == "pending"
    assert (await ok(eve.http.get("/api/tasks_list")))["total"] == 0
    assert (await ok(vera.http.get("/api/tasks_list")))["total"] == 1


async def test_a_task_is_cancelled_while_it_waits_and_while_it_runs(people):
    ada = await people.add("submitter")
    await studio(ada)
    running, agent, assigned = await begun(people, ada)
    waiting = await submit(ada)
    for task_id in (running, waiting):
        await ok(ada.http.post(f"/api/render/tasks/{task_id}/cancel"))
        await ok(ada.http.post("/api/render/terminate", json={"taskId": task_id}))
        told = await ok(ada.http.get(f"/api/tasks/{task_id}/status"))
        assert (told["status"], told["error"]) == ("failed", "cancelled by its client")
    late = await agent.finish(assigned)
    assert late.status_code == 409
    completed = await done(people, ada)
    assert "completed" in await refused(ada.http.post(f"/api/render/tasks/{completed}/cancel"), 409)
    await refused(ada.http.post(f"/api/render/tasks/{UNKNOWN}/cancel"), 404)


async def test_who_watches_may_report_an_error(people):
    ada = await people.add("submitter")
    await studio(ada)
    task_id = await submit(ada)
    report = {"taskId": task_id, "error": "The textures are missing.", "callbackParams": {"clientId": "c"}}
    await ok(ada.http.post("/api/logs/error-callback", json=report))
    told = await ok(ada.http.get(f"/api/tasks/{task_id}/status"))
    assert (told["status"], told["error"]) == ("failed", "The textures are missing.")


async def test_lists_have_pages_and_words_of_theirs(people):
    ada = await people.add("submitter")
    await studio(ada)
    ids = []
    for _ in range(5):
        people.world.clock.advance(1)
        ids.append(await submit(ada))
    await ok(ada.http.post(f"/api/render/tasks/{ids[1]}/cancel"))
    await ok(ada.http.post("/api/logs/error-callback", json={"taskId": ids[3]}))
    for path in ("/api/render/tasks_list", "/api/tasks_list"):
        page = await ok(ada.http.get(path, params={"page": 2, "pageSize": 2}))
        assert ([one["id"] for one in page["tasks"]], page["total"]) == ([ids[2], ids[1]], 5)
    failed = await ok(ada.http.get("/api/render/tasks_list", params={"status": "failed"}))
    assert [one["taskId"] for one in failed["tasks"]] == [ids[3], ids[1]]
    waits = await ok(ada.http.get("/api/render/tasks_list", params={"status": "pending", "type": "render"}))
    assert {(one["type"], one["status"], one["priority"]) for one in waits["tasks"]} == {
        ("render", "pending", 10)
    }
    assert (await ok(ada.http.get("/api/render/tasks_list", params={"type": "other"})))["total"] == 0
    shown = await ok(ada.http.get("/api/project/detail/studio"))
    assert [one["id"] for one in shown["Task"]] == ids[::-1]
    for query in ({"page": 0}, {"pageSize": 101}, {"page": 10_000, "pageSize": 100}, {"status": "done"}):
        await refused(ada.http.get("/api/render/tasks_list", params=query), 422)


async def test_pictures_are_told_as_urls_and_shown_to_who_accepts_images(people):
    ada = await people.add("submitter")
    await studio(ada)
    task_id = await done(people, ada)
    path = f"/api/resource/img/{task_id}"
    told = (await ada.http.get(path)).json()
    assert told["success"] is True
    assert (await people.nobody.get(told["url"])).content == b"jpg0"
    sent = await ada.http.get(path, params={"camera": 1}, headers={"Accept": "image/webp,image/*,*/*"})
    assert (sent.status_code, (await people.nobody.get(sent.headers["location"])).content) == (302, b"jpg1")
    await refused(ada.http.get(path, params={"camera": 2}), 404)
    waiting = await submit(ada)
    assert "pending" in await refused(ada.http.get(f"/api/resource/img/{waiting}"), 409)


async def test_logs_come_by_page_and_by_offset_without_cutting_letters(people):
    ada = await people.add("submitter")
    await studio(ada)
    task_id, agent, assigned = await begun(people, ada)
    text = "Fra:12 Größe\nline two\n日本語\nlast"
    sent = await agent.post(f"attempts/{assigned['attempt']}/logs", offset=0, text=text)
    assert sent.status_code == 200, sent.text
    path = f"/api/render/tasks/{task_id}/logs"
    whole = await ok(ada.http.get(path))
    assert whole == {"content": text, "totalLines": 4, "currentPage": 1, "totalPages": 1}
    page = await ok(ada.http.get(path, params={"page": 2, "pageSize": 3}))
    assert page == {"content": "last", "totalLines": 4, "currentPage": 2, "totalPages": 2}
    for size in (4, 5, 9, 2560):
        read, offset, more = "", 0, True
        while more:
            query = {"offset": offset, "chunkSize": size}
            chunk = await ok(ada.http.get(f"/api/task/logger/{task_id}", params=query))
            read, offset, more = read + chunk["content"], chunk["nextOffset"], chunk["hasMore"]
        assert (read, offset) == (text, len(text.encode()))
    none = await ok(ada.http.get(f"/api/task/logger/{await submit(ada)}"))
    assert none == {"content": "", "hasMore": False, "nextOffset": 0}


async def test_moves_are_told_as_a_stream_of_stages(people):
    ada = await people.add("submitter")
    await studio(ada)
    task_id = await done(people, ada)
    moves = await ok(ada.http.get("/api/logs", params={"taskId": task_id}))
    fields = [dict(zip(one[1][::2], one[1][1::2], strict=True)) for one in moves]
    assert (fields[0]["stage"], fields[-1]["stage"]) == ("start", "completed")
    assert moves[0][0] == f"{fields[0]['timestamp']}-1"
    some = await ok(ada.http.get("/api/logs", params={"taskId": task_id, "stage": "processing", "count": 1}))
    assert [one[1][1] for one in some] == ["processing"]
    assert "taskId" in await refused(ada.http.get("/api/logs"), 422)


async def test_the_project_or_the_task_says_who_is_told_and_it_can_be_asked_again(people):
    ada = await people.add("submitter")
    await studio(ada, callbackUrl="https://example.com/project")
    first = await submit(ada)
    second = await submit(ada, callbackUrl="https://example.com/task")
    await refused(ada.http.post("/api/render/client-callback", json={"taskId": first}), 409)
    store = people.world.orchestrator.parts.store
    for task_id, where in ((first, "project"), (second, "task")):
        await ok(ada.http.post(f"/api/render/tasks/{task_id}/cancel"))
        (delivery,) = await store.list_deliveries(task_id)
        assert delivery.url == f"https://example.com/{where}"
        await ok(ada.http.post("/api/render/client-callback", json={"taskId": task_id}))
    await studio(ada, project="quiet")
    silent = await submit(ada, project="quiet")
    await ok(ada.http.post(f"/api/render/tasks/{silent}/cancel"))
    await refused(ada.http.post("/api/render/client-callback", json={"taskId": silent}), 409)


async def test_a_repeated_key_makes_one_task(people):
    ada = await people.add("submitter")
    await studio(ada)
    headers = {"Idempotency-Key": "once"}
    replies = [
        await ok(ada.http.post("/api/render/tasks", json=task_of(), headers=headers)) for _ in range(2)
    ]
    assert replies[0]["taskId"] == replies[1]["taskId"]
