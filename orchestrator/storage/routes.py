"""/files: what the local storage signed, got and put. The signature is all the authority there is."""

import base64
import hashlib
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from gpulease.contract.problems import ProblemError
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.names import type_of
from orchestrator.storage.protocol import BadKey, BadSignature

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, max-age=3600",
}
"""What a client uploaded is never run by a browser in our name."""


def files_router(storage: LocalStorage) -> APIRouter:
    router = APIRouter(prefix="/files", tags=["files"])

    @router.get("/{key:path}")
    @router.head("/{key:path}", include_in_schema=False)
    async def get(request: Request, key: str) -> FileResponse:
        """A stored file, whole or by `Range`."""
        query = _checked(storage, "GET", key, request)
        if await storage.stat(key) is None:
            raise ProblemError(404, "There is no such file", "It may have passed its retention.")
        name = query.get("name", key.rsplit("/", 1)[-1])
        return FileResponse(
            storage.path(key),
            media_type=type_of(name),
            filename=name,
            content_disposition_type="inline",
            headers=HEADERS,
        )

    @router.put("/{key:path}", status_code=204)
    async def put(request: Request, key: str) -> Response:
        """Stores the body, whole or not at all. Its ETag is what completes an upload in parts."""
        query = _checked(storage, "PUT", key, request)
        if not storage.awaits(key):
            raise ProblemError(404, "This upload is over", "It was completed or given up; begin a new one.")
        body = _capped(request.stream(), int(query["size_max"]))
        digest = hashlib.md5(usedforsecurity=False)
        await storage.put_stream(key, _as_sent(body, digest, request.headers.get("content-md5")))
        return Response(status_code=204, headers={"ETag": f'"{digest.hexdigest()}"'})

    return router


def _checked(storage: LocalStorage, method: str, key: str, request: Request) -> dict[str, str]:
    query = dict(request.query_params)
    try:
        storage.path(key)
        storage.verify(method, key, query)
    except (BadKey, BadSignature) as error:
        raise ProblemError(403, "This URL is not good", str(error), type="/problems/bad-url") from error
    return query


async def _capped(chunks: AsyncIterator[bytes], bytes_max: int) -> AsyncIterator[bytes]:
    seen = 0
    async for chunk in chunks:
        seen += len(chunk)
        if seen > bytes_max:
            raise ProblemError(413, "The file is larger than its URL allows", f"At most {bytes_max} bytes.")
        yield chunk


async def _as_sent(
    chunks: AsyncIterator[bytes], digest: "hashlib._Hash", content_md5: str | None
) -> AsyncIterator[bytes]:
    """Ends in a refusal, and so keeps nothing, where the sender says what the body should be and it is not."""
    async for chunk in chunks:
        digest.update(chunk)
        yield chunk
    if content_md5 and content_md5 != base64.b64encode(digest.digest()).decode():
        raise ProblemError(
            400, "The body was changed on its way", "Its Content-MD5 is another; send it again."
        )
