"""`POST /generate` for whoever holds the machine, and the files that it makes.

It takes `{"engine", "job_id", "input"}` for any engine that this worker offers, or the body of the first generation of
lip-sync workers, whose engine is `musetalk`. The same id with the same body is the same job, running or done; with
another body it is a conflict. Whoever hangs up leaves the job alone, and asks again for its answer.

Results go to the owner's buckets where there are any, else they are kept and served at
`GET /generate/{job_id}/files/{name}`; with a `handover` they go to an orchestrator's storage. Under a `Salad-Job-Id`
header every answer is 200 with the status in its body, since that queue takes anything else for a broken worker; else
failures are problem documents.
"""

import asyncio
import json
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from pydantic import AliasChoices, Field, ValidationError, model_validator
from pydantic_core import to_json

from gpulease.contract.agent import EngineOffer
from gpulease.contract.base import Lenient
from gpulease.contract.engines import CATALOGUE
from gpulease.contract.plain import PlainObject
from worker_image.deliver.names import JOB_ID
from worker_image.engines.registry import choose
from worker_image.local import Answer, Asked, Busy, LocalJobs, Unknown
from worker_image.upload import Handover
from worker_image.web.access import Guard, Refusal, faults_of
from worker_image.web.answer import shown

BODY_BYTES_MAX = 8 * 1024 * 1024
_HOST_FAULT_STATUS = 500
_JOB_FAULT_STATUS = 422


ID_NAMES = ("musetalk_job_id", "job_id")


class Generate(Lenient):
    """A job for this worker, in either of the two forms. Its id becomes part of file names."""

    engine: str = "musetalk"
    job_id: str = Field(
        default_factory=lambda: uuid4().hex, pattern=JOB_ID, validation_alias=AliasChoices(*ID_NAMES)
    )
    input: PlainObject = Field(default_factory=dict)
    handover: Handover | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_the_first_form(cls, body: Any) -> Any:
        if not isinstance(body, dict) or "engine" in body:
            return body
        known = {name: body[name] for name in CATALOGUE["musetalk"].input_model.model_fields if name in body}
        named = {name: body[name] for name in ID_NAMES if body.get(name) is not None}
        return {"engine": "musetalk", "input": known, **named}


def generate_router(jobs: LocalJobs, offers: tuple[EngineOffer, ...], guard: Guard) -> APIRouter:
    router = APIRouter()

    @router.post("/generate")
    async def generate(request: Request, salad_job_id: Annotated[str | None, Header()] = None) -> Response:
        try:
            guard.admit(request)
            answer = await _generate(jobs, offers, await _read(request))
            return Response(to_json(answer), media_type="application/json")
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


async def _read(request: Request) -> Generate:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise Refusal(413, "The body is too large", f"It may have {BODY_BYTES_MAX} bytes.")
    try:
        return Generate.model_validate(json.loads(body))
    except ValidationError as error:
        faults = faults_of(error)
        named = ", ".join(f"{fault.field}: {fault.message}" for fault in faults)
        raise Refusal(422, "The body is not valid", named, faults) from error
    except (ValueError, RecursionError) as error:
        raise Refusal(422, "The body is not valid", f"It is no JSON: {error}") from error


async def _generate(jobs: LocalJobs, offers: tuple[EngineOffer, ...], body: Generate) -> dict[str, Any]:
    model = _check(offers, body)
    asked = Asked(body.job_id, body.engine, model, body.input, body.handover, deliver=body.handover is None)
    if jobs.clashes(asked):
        raise Refusal(
            409, "That id is another job's", f"{body.job_id} was asked for with another engine or input."
        )
    answer = await _answer(jobs, asked)
    if answer.fault is not None:
        status = _JOB_FAULT_STATUS if answer.fault.kind == "job" else _HOST_FAULT_STATUS
        raise Refusal(status, answer.fault.code, answer.fault.message)
    return shown(body.job_id, answer)


async def _answer(jobs: LocalJobs, asked: Asked) -> Answer:
    try:
        return await jobs.run(asked)
    except Busy as error:
        raise Refusal(429, "Every slot is busy", "Try again when the running job is done.") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Refusal(503, "worker_stopped", "The worker stopped before the job was done.") from error


def _check(offers: tuple[EngineOffer, ...], body: Generate) -> str | None:
    """The model that the job names; refuses what cannot run here, before it takes a slot."""
    spec = CATALOGUE.get(body.engine)
    if spec is None:
        raise Refusal(404, "There is no such engine", f"{body.engine!r} is not in the catalogue.")
    try:
        asked = spec.input_model.model_validate(body.input)
    except ValidationError as error:
        faults = faults_of(error)
        named = ", ".join(f"{fault.field}: {fault.message}" for fault in faults)
        raise Refusal(422, "The input is not valid", named, faults) from error
    if all(offer.engine != body.engine for offer in offers):
        here = ", ".join(sorted({offer.engine for offer in offers})) or "nothing"
        raise Refusal(503, "Not on this worker", f"This worker cannot run {body.engine}; it runs {here}.")
    model = spec.model_of(asked)
    offer = choose(offers, body.engine, model)
    if offer is None or not set(spec.features_of(asked)) <= set(offer.features):
        raise Refusal(
            503,
            "Not on this worker",
            f"This worker has not the model or feature that this job needs: {model}.",
        )
    return model
