"""/v1/audit: who changed what, from where, and what it was before. For admins."""

import csv
import io
import json
import math
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from gpulease.contract.people import AuditPage, AuditView
from orchestrator.api.auth import Admin, Shared
from orchestrator.api.edge.cursors import Limit, cut, place_of
from orchestrator.api.views import moment
from orchestrator.parts import Parts
from orchestrator.store.people import Audit, AuditFilter

router = APIRouter(prefix="/v1/audit", tags=["people"])
PAGE = 500
NDJSON = "application/x-ndjson"
COLUMNS = tuple(AuditView.model_fields)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run."""
Form = Literal["json", "jsonl", "csv"]


async def filter_of(
    who: Annotated[str | None, Query(max_length=200, description="Such as user:ID.")] = None,
    what: Annotated[str | None, Query(max_length=200, description="Such as key.revoke.")] = None,
    target: Annotated[str | None, Query(max_length=200, description="The id of what was changed.")] = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
) -> AuditFilter:
    return AuditFilter(who, what, target, _seconds(since), _seconds(until))


Which = Annotated[AuditFilter, Depends(filter_of)]


@router.get("", response_model=AuditPage)
async def audit(
    parts: Shared,
    request: Request,
    _: Admin,
    which: Which,
    form: Annotated[
        Form | None, Query(alias="format", description="jsonl and csv: all, as a stream.")
    ] = None,
    cursor: str | None = None,
    limit: Limit = 100,
) -> Response:
    """Oldest first. As `jsonl` (or with `Accept: application/x-ndjson`) or `csv`: all that match."""
    after = place_of(cursor, int) or 0
    match form or _accepted(request):
        case "jsonl":
            return StreamingResponse(_lines(parts, which, after, _as_json), media_type=NDJSON)
        case "csv":
            headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
            return StreamingResponse(
                _with_header(_lines(parts, which, after, _as_csv)), media_type="text/csv", headers=headers
            )
        case _:
            rows = await parts.store.list_audit(which, after=after, limit=limit + 1)
            page, more = cut(rows, limit, lambda one: one.id)
            shown = AuditPage(items=tuple(audit_view(one) for one in page), next_cursor=more)
            return Response(shown.model_dump_json(), media_type="application/json")


def _accepted(request: Request) -> Form:
    return "jsonl" if NDJSON in request.headers.get("accept", "") else "json"


async def _lines(
    parts: Parts, which: AuditFilter, after: int, written: Callable[[Audit], str]
) -> AsyncIterator[str]:
    """Page by page, what there is until now: what is written meanwhile is not waited for."""
    end = math.nextafter(parts.clock.now(), math.inf)
    which = replace(which, until=end if which.until is None else min(end, which.until))
    while rows := await parts.store.list_audit(which, after=after, limit=PAGE):
        yield "".join(map(written, rows))
        after = rows[-1].id


async def _with_header(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield _csv_line(COLUMNS)
    async for line in lines:
        yield line


def _as_json(row: Audit) -> str:
    return audit_view(row).model_dump_json() + "\n"


def _as_csv(row: Audit) -> str:
    shown = audit_view(row).model_dump(mode="json")
    return _csv_line(_cell(shown[name]) for name in COLUMNS)


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def audit_view(row: Audit) -> AuditView:
    return AuditView(
        id=row.id,
        at=moment(row.at),
        who=row.who,
        key_id=row.key_id,
        origin=row.origin,
        what=row.what,
        target=row.target,
        before=row.before,
        after=row.after,
    )
