"""`POST /generate` for whoever holds the machine, and the files that it makes.

It takes `{"engine", "job_id", "input"}` for any engine that this worker offers, or the body of the first generation of
lip-sync workers, whose engine is `musetalk`. Files of a result are listed with their size and SHA-256 and served at
`GET /generate/{job_id}/files/{name}`; with a `handover` they go to an orchestrator's storage instead, and are listed
with their key there. Under a `Salad-Job-Id` header every answer is 200 with the status in its body, since that queue
takes anything else for a broken worker; else failures are problem documents.
"""

from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import Field, ValidationError, model_validator

from gpulease.contract.agent import EngineOffer
from gpulease.contract.base import Lenient
from gpulease.contract.engines import CATALOGUE
from worker_image.engines.registry import choose
from worker_image.local import Answer, Asked, Busy, LocalJobs, Unknown
from worker_image.upload import Handover
from worker_image.web.access import Guard, Refusal, faults_of

_HOST_FAULT_STATUS = 500
_JOB_FAULT_STATUS = 422


class Generate(Lenient):
    """A job for this worker, in either of the two forms."""

    engine: str = "musetalk"
    job_id: str = Field(default_factory=lambda: uuid4().hex, min_length=1, max_length=200)
    input: dict[str, Any] = Field(default_factory=dict)
    handover: Handover | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_the_first_form(cls, body: Any) -> Any:
        if not isinstance(body, dict) or "engine" in body:
            return body
        known = {name: body[name] for name in CATALOGUE["musetalk"].input_model.model_fields if name in body}
        job_id = body.get("musetalk_job_id") or body.get("job_id")
        return {"engine": "musetalk", "input": known} | ({"job_id": job_id} if job_id else {})


def generate_router(jobs: LocalJobs, offers: tuple[EngineOffer, ...], guard: Guard) -> APIRouter:
    router = APIRouter()

    @router.post("/generate")
    async def generate(
        request: Request, body: Generate, salad_job_id: Annotated[str | None, Header()] = None
    ) -> Response:
        try:
            guard.admit(request)
            return JSONResponse(await _generate(jobs, offers, body))
        except Refusal as refusal:
            if salad_job_id is None:
                raise
            problem = refusal.problem
            return JSONResponse(
                {"status": "failed", "error": problem.detail, "problem": problem.model_dump()}
            )

    @router.get("/generate/{job_id}/files/{name}")
    async def file(request: Request, job_id: str, name: str) -> FileResponse:
        guard.admit(request)
        try:
            found = jobs.file(job_id, name)
        except Unknown as error:
            raise Refusal(
                404, "There is no such file", f"Job {job_id!r} has no file {name!r} here."
            ) from error
        return FileResponse(found.made.path, media_type=found.made.content_type, filename=name)

    return router


async def _generate(jobs: LocalJobs, offers: tuple[EngineOffer, ...], body: Generate) -> dict[str, Any]:
    model = _check(offers, body)
    try:
        asked = Asked(body.job_id, body.engine, model, body.input, body.handover)
        answer = await jobs.run(asked)
    except Busy as error:
        raise Refusal(429, "Every slot is busy", "Try again when the running job is done.") from error
    if answer.fault is not None:
        status = _JOB_FAULT_STATUS if answer.fault.kind == "job" else _HOST_FAULT_STATUS
        raise Refusal(status, answer.fault.code, answer.fault.message)
    return _shown(body.job_id, answer)


def _check(offers: tuple[EngineOffer, ...], body: Generate) -> str | None:
    """The model that the job names; refuses what cannot run here, before it takes a slot."""
    spec = CATALOGUE.get(body.engine)
    if spec is None:
        raise Refusal(404, "There is no such engine", f"{body.engine!r} is not in the catalogue.")
    if all(offer.engine != body.engine for offer in offers):
        here = ", ".join(sorted({offer.engine for offer in offers})) or "nothing"
        raise Refusal(503, "Not on this worker", f"This worker cannot run {body.engine}; it runs {here}.")
    try:
        asked = spec.input_model.model_validate(body.input)
    except ValidationError as error:
        raise Refusal(
            422, "The input is not valid", f"See errors, and the engine {body.engine}.", faults_of(error)
        ) from error
    model = spec.model_of(asked)
    offer = choose(offers, body.engine, model)
    if offer is None or not set(spec.features_of(asked)) <= set(offer.features):
        raise Refusal(
            503,
            "Not on this worker",
            f"This worker has not the model or feature that this job needs: {model}.",
        )
    return model


def _shown(job_id: str, answer: Answer) -> dict[str, Any]:
    made = answer.made
    outcome = made.outcome if made else None
    files = [
        {
            "name": file.made.name,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "content_type": file.made.content_type,
            "url": f"/generate/{job_id}/files/{file.made.name}",
        }
        for file in answer.files
    ]
    return {
        "status": "ok",
        "job_id": job_id,
        "backend": made.backend if made else None,
        "model": outcome.model if outcome else None,
        "text": outcome.text if outcome else None,
        "data": outcome.data if outcome else {},
        "files": [*files, *(file.model_dump(exclude={"url"}) for file in answer.stored)],
        "metrics": outcome.metrics if outcome else {},
        "ignored": list(outcome.ignored) if outcome else [],
    }
