"""Every route, and who may call it with what is their own or another's. A route that is missing here fails a test.

After a change, `python tests/api/test_authorisation_matrix.py` writes docs/authorisation.md anew.
"""

import json

from authorisation_rules import (
    ABSENT,
    ADMINS,
    ANYBODY,
    CLOSED,
    HOSTS,
    OPERATORS,
    OWN_KEYS,
    OWN_PROJECTS,
    OWN_TO_READ,
    OWN_TO_WRITE,
    SIGNED,
    STRANGERS,
    SUBMITTERS,
    VIEWERS,
    WORKERS,
    Row,
)

JOB = {"engine": "csm", "input": {"text": "Hello."}}
AGENT = "/internal/workers/{worker_id}"
ATTEMPT = f"{AGENT}/attempts/{{attempt}}"
HELD = {"incarnation": "{incarnation}"}
URL = "http://127.0.0.1:9/file"
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
FRAMES = [{"ArgTypeId": name, "Value": "1"} for name in ("start_frame", "end_frame")]
FARM_REQUEST = {"request": json.dumps({"EngineId": 1, "Arguments": FRAMES})}

SECTIONS: dict[str, tuple[Row, ...]] = {
    "Jobs and uploads": (
        Row("POST /v1/jobs", SUBMITTERS, 202, json=JOB),
        Row("POST /v1/jobs/batch", SUBMITTERS, 202, json={"jobs": [JOB]}),
        Row("GET /v1/jobs", VIEWERS),
        Row("GET /v1/jobs/{job_id}", OWN_TO_READ),
        Row("GET /v1/jobs/{job_id}/result", OWN_TO_READ, at={"job_id": "done_job"}),
        Row("GET /v1/jobs/{job_id}/logs", OWN_TO_READ),
        Row("GET /v1/jobs/{job_id}/events", OWN_TO_READ),
        Row("POST /v1/jobs/{job_id}/cancel", OWN_TO_WRITE),
        Row("POST /v1/jobs/{job_id}/retry", OWN_TO_WRITE, 202, at={"job_id": "done_job"}),
        Row("DELETE /v1/jobs/{job_id}", OWN_TO_WRITE, 204),
        Row("POST /v1/uploads", SUBMITTERS, 201, content=b"a file"),
        Row("GET /v1/uploads", VIEWERS),
        Row("GET /v1/uploads/{upload_id}", OWN_TO_READ),
        Row("DELETE /v1/uploads/{upload_id}", OWN_TO_WRITE, 204),
        Row("POST /v1/uploads/parts", SUBMITTERS, 201, json={"name": "film.mp4", "size_bytes": 9}),
        Row("GET /v1/uploads/{upload_id}/parts", OWN_TO_WRITE, at={"upload_id": "begun_upload"}),
        Row("POST /v1/uploads/{upload_id}/complete", OWN_TO_WRITE, 409, at={"upload_id": "begun_upload"}),
        Row("GET /v1/engines", VIEWERS),
        Row("GET /v1/queues", VIEWERS),
        Row("PUT /v1/queues/{name}", OPERATORS, at={"name": "queue"}, json={"running_max": 8}),
    ),
    "Model library": (
        Row("GET /v1/assets", VIEWERS),
        Row("POST /v1/assets", SUBMITTERS, 201, params={"name": "{fresh}", "file": "a.obj"}, content=OBJ),
        Row("GET /v1/assets/{asset_id}", OWN_TO_READ),
        Row("DELETE /v1/assets/{asset_id}", OWN_TO_WRITE, 204),
        Row("GET /v1/assets/{asset_id}/versions", OWN_TO_READ),
        Row("POST /v1/assets/{asset_id}/versions", OWN_TO_WRITE, 201, params={"file": "a.obj"}, content=OBJ),
        Row("GET /v1/assets/{asset_id}/versions/{number}/download", OWN_TO_READ, at={"number": "first"}),
    ),
    "People": (
        Row("GET /v1/me", VIEWERS),
        Row("PATCH /v1/me", VIEWERS, json={"name": "Ada"}),
        Row("GET /v1/me/limits", VIEWERS),
        Row("GET /v1/users", ADMINS),
        Row("POST /v1/users", ADMINS, 201, json={"name": "Ada"}),
        Row("GET /v1/users/{user_id}", ADMINS),
        Row("PATCH /v1/users/{user_id}", ADMINS, json={"name": "Ada"}),
        Row("GET /v1/keys", VIEWERS),
        Row("POST /v1/keys", VIEWERS, 201, json={"name": "another"}),
        Row("POST /v1/keys/{key_id}/rotate", OWN_KEYS, 201),
        Row("DELETE /v1/keys/{key_id}", OWN_KEYS, 204),
        Row("GET /v1/subscriptions", ADMINS),
        Row("POST /v1/subscriptions", ADMINS, 201, json={"name": "Small"}),
        Row("PUT /v1/subscriptions/{number}", ADMINS, at={"number": "first"}, json={"name": "Default"}),
        Row("GET /v1/audit", ADMINS),
    ),
    "Projects": (
        Row("GET /v1/projects", VIEWERS),
        Row("POST /v1/projects", SUBMITTERS, 201, json={"name": "Film"}),
        Row("GET /v1/projects/{project_id}", OWN_TO_READ),
        Row("PATCH /v1/projects/{project_id}", OWN_PROJECTS, json={"name": "Long film"}),
        Row("GET /v1/projects/{project_id}/members", OWN_TO_READ),
        Row(
            "PUT /v1/projects/{project_id}/members/{user_id}",
            OWN_PROJECTS,
            at={"user_id": "guest"},
            json={"right": "read"},
        ),
        Row(
            "DELETE /v1/projects/{project_id}/members/{user_id}", OWN_PROJECTS, 204, at={"user_id": "member"}
        ),
    ),
    "Webhooks": (
        Row("GET /v1/webhooks/deliveries", VIEWERS),
        Row("POST /v1/webhooks/deliveries/replay", SUBMITTERS, 202, json={}),
        Row("GET /v1/webhooks/deliveries/{delivery_id}", OWN_TO_READ),
        Row("POST /v1/webhooks/deliveries/{delivery_id}/replay", OWN_TO_WRITE, 202),
        Row("GET /v1/webhooks/secret", SUBMITTERS),
        Row("POST /v1/webhooks/secret/rotate", SUBMITTERS),
    ),
    "Fleet and money": (
        Row("GET /v1/workers", OPERATORS),
        Row("POST /v1/workers/{worker_id}/drain", OPERATORS),
        Row("POST /v1/workers/{worker_id}/stop", OPERATORS),
        Row("POST /v1/workers/{worker_id}/pause", OPERATORS),
        Row("POST /v1/workers/{worker_id}/resume", OPERATORS),
        Row("GET /v1/policy", OPERATORS),
        Row("PUT /v1/policy", ADMINS, json={}),
        Row("GET /v1/plan", OPERATORS),
        Row("GET /v1/providers", OPERATORS),
        Row("POST /v1/providers/{name}/disable", OPERATORS, at={"name": "provider"}),
        Row("POST /v1/providers/{name}/enable", OPERATORS, at={"name": "provider"}),
        Row("GET /v1/costs", OPERATORS),
        Row("GET /v1/leases", OPERATORS),
        Row("GET /v1/leases/{worker_id}", OPERATORS),
    ),
    "Workers": (
        Row(f"POST {AGENT}/register", WORKERS, json={**HELD, "engines": []}),
        Row(f"POST {AGENT}/heartbeat", WORKERS, json=HELD),
        Row("POST /internal/buffer/workers/{worker_id}/heartbeat", WORKERS, json={"status": "idle"}),
        Row(f"POST {AGENT}/claim", WORKERS, json={**HELD, "nonce": "n" * 32, "wait_s": 0}),
        Row(f"POST {ATTEMPT}/progress", WORKERS, json={**HELD, "phase": "inferring", "progress": 0.5}),
        Row(f"POST {ATTEMPT}/logs", WORKERS, json={**HELD, "offset": 0, "text": "a line\n"}),
        Row(f"POST {ATTEMPT}/upload", WORKERS, json={**HELD, "name": "a.wav", "size_bytes": 4}),
        Row(
            f"POST {ATTEMPT}/upload/complete",
            WORKERS,
            (410, 422),
            json={**HELD, "key": "jobs/x/1/y", "upload_id": "u", "etags": ["e"]},
        ),
        Row(f"POST {ATTEMPT}/finish", WORKERS, json={**HELD, "result": {"backend": "test", "text": "done"}}),
        Row("GET /internal/hosts/{provider}/duties", HOSTS),
        Row("POST /internal/salad/webhook", ABSENT),
    ),
    "Files and health": (
        Row("GET /files/{key:path}", SIGNED, at={"key": "unsigned"}),
        Row("HEAD /files/{key:path}", SIGNED, at={"key": "unsigned"}),
        Row("PUT /files/{key:path}", SIGNED, at={"key": "unsigned"}, content=b"a file"),
        Row("GET /", ANYBODY),
        Row("GET /livez", ANYBODY),
        Row("GET /readyz", ANYBODY, (200, 503)),
        Row("GET /health", ANYBODY),
        Row("GET /healthz", ANYBODY),
        Row("GET /metrics", OPERATORS),
        Row("GET /docs", ANYBODY),
        Row("GET /docs/oauth2-redirect", ANYBODY),
        Row("GET /redoc", ANYBODY),
        Row("GET /openapi.json", ANYBODY),
    ),
    "Render API": (
        Row("POST /csm", SUBMITTERS, json={"text": "Hello."}),
        Row("POST /whisper", SUBMITTERS, json={"audio_url": URL}),
        Row("POST /portrait", SUBMITTERS, json={"image_url": URL, "audio_url": URL}),
        Row("POST /analyze", SUBMITTERS, json={"image_url": URL}),
        Row("GET /status/{job_id}", OWN_TO_READ),
        Row("GET /result/{job_id}", OWN_TO_READ, at={"job_id": "done_job"}),
        Row("POST /job/{job_id}", OWN_TO_WRITE, json={"status": "cancelled"}),
    ),
    "Video API": (
        Row("POST /jobs", SUBMITTERS, json={"prompt": "a cat"}),
        Row("GET /jobs", VIEWERS),
        Row("GET /jobs/{job_id}", OWN_TO_READ, at={"job_id": "film"}),
        Row("GET /jobs/{job_id}/result", OWN_TO_READ, at={"job_id": "done_film"}),
        Row("GET /download/{job_id}", OWN_TO_READ, at={"job_id": "done_film"}),
    ),
    "Render farm": (
        Row("GET /renderapi/v1/info", VIEWERS),
        Row(
            "POST /renderapi/v1/enqueue",
            SUBMITTERS,
            data=FARM_REQUEST,
            files={"file": ("a.blend", b"BLENDER")},
        ),
        Row("POST /renderapi/v1/dequeue", OWN_TO_WRITE, json={"TaskId": "{farm_task}"}),
        Row("POST /renderapi/v1/download", OWN_TO_READ, json={"TaskId": "{done_farm_task}"}),
        Row("POST /renderapi/v1/delete", OWN_TO_WRITE, json={"TaskId": "{farm_task}"}),
    ),
    "Render tasks": (
        Row(
            "POST /auth/login", STRANGERS, json={"email": "{fresh}@example.com", "password": "is it this one"}
        ),
        Row(
            "POST /auth/register", CLOSED, json={"email": "new@example.com", "password": "long enough it is"}
        ),
        Row("GET /auth/refreshToken", STRANGERS),
        Row("POST /auth/refreshToken", STRANGERS),
        Row("GET /auth/user/info", VIEWERS),
        Row("GET /api/get_user", OWN_KEYS, params={"uid": "{user_id}"}),
        Row("POST /api/project/create", SUBMITTERS, json={"name": "Film"}),
        Row("GET /api/project/list", VIEWERS),
        Row("GET /api/project/detail/{project_id}", OWN_TO_READ),
        Row("POST /api/render/tasks", SUBMITTERS, 422, json={"projectId": "{project_id}"}),
        Row("GET /api/render/tasks_list", VIEWERS),
        Row("GET /api/tasks_list", VIEWERS),
        Row("GET /api/render/tasks/{task_id}", OWN_TO_READ, at={"task_id": "job_id"}),
        Row("GET /api/tasks/{task_id}/status", OWN_TO_READ, at={"task_id": "job_id"}),
        Row("GET /api/render/tasks/{task_id}/logs", OWN_TO_READ, at={"task_id": "job_id"}),
        Row("GET /api/task/logger/{task_id}", OWN_TO_READ, at={"task_id": "job_id"}),
        Row("GET /api/logs", OWN_TO_READ, params={"taskId": "{job_id}"}),
        Row("GET /api/resource/img/{task_id}", OWN_TO_READ, at={"task_id": "picture"}),
        Row("POST /api/render/tasks/{task_id}/cancel", OWN_TO_WRITE, at={"task_id": "job_id"}),
        Row("POST /api/render/terminate", OWN_TO_WRITE, json={"taskId": "{job_id}"}),
        Row("POST /api/logs/error-callback", OWN_TO_WRITE, json={"taskId": "{job_id}"}),
        Row("POST /api/render/client-callback", OWN_TO_WRITE, json={"taskId": "{told_job}"}),
    ),
}
