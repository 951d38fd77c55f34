"""What `POST /generate` answers of a job that succeeded: the first generation's fields, and ours beside them."""

from collections.abc import Iterator
from typing import Any

from worker_image.deliver.destination import Stored
from worker_image.engines.base import Outcome
from worker_image.local import Answer, LocalFile


def shown(job_id: str, answer: Answer) -> dict[str, Any]:
    """`b2_*`, `minio_*` and `result_url` are where the result's first file lies, where it was brought there."""
    made = answer.made
    outcome = made.outcome if made else Outcome()
    kept = [_file(job_id, file) for file in answer.files]
    first = answer.files[0].stored if answer.files else ()
    return {
        "status": "ok",
        "job_id": job_id,
        "backend": made.backend if made else None,
        "model": outcome.model,
        "text": outcome.text,
        "data": outcome.data,
        "files": [*kept, *(file.model_dump(exclude={"url"}) for file in answer.stored)],
        "metrics": outcome.metrics,
        "ignored": list(outcome.ignored),
        **dict(_places(first)),
    }


def _file(job_id: str, file: LocalFile) -> dict[str, Any]:
    here = {} if file.stored else {"url": f"/generate/{job_id}/files/{file.made.name}"}
    return {
        "name": file.made.name,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "content_type": file.made.content_type,
        **here,
        **dict(_places(file.stored)),
    }


def _places(stored: tuple[Stored, ...]) -> Iterator[tuple[str, str]]:
    for one in stored:
        match one.kind:
            case "b2":
                yield from (("b2_bucket", one.bucket), ("b2_file_name", one.key))
            case "minio":
                yield from (("minio_bucket", one.bucket), ("minio_object", one.key))
        if one.url is not None:
            yield "result_url", one.url
