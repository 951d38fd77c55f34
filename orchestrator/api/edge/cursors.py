"""Lists in pages: an opaque cursor names the last row of the page before."""

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from fastapi import Query

from gpulease.contract.problems import FieldFault, invalid

LETTERS_MAX = 4_000
ID_MAX = 2**53
ROW_MAX = 2**63 - 1
"""The greatest whole number that every store can compare with."""
Moment = tuple[float, str]
"""When a row was made, and its id: its place in a list that is newest first."""
Place = TypeVar("Place", int, str)
Found = TypeVar("Found")
Row = TypeVar("Row")
Limit = Annotated[int, Query(ge=1, le=500)]


def cut(
    rows: list[Row], limit: int, place: Callable[[Row], int | str | Moment]
) -> tuple[list[Row], str | None]:
    """A page of rows that were read with one more than the limit, and the cursor of the next page."""
    page = rows[:limit]
    return page, _encode(place(page[-1])) if len(rows) > limit else None


def cut_after(
    rows: Iterable[Row], place: Callable[[Row], Place], after: Place | None, limit: int
) -> tuple[list[Row], str | None]:
    """The same of rows that were all read, put in order by their place."""
    left = (row for row in rows if after is None or place(row) > after)
    return cut(sorted(left, key=place), limit, place)


def place_of(cursor: str | None, kind: type[Place]) -> Place | None:
    """Where the page before ended.

    Raises:
        ProblemError: 422, it is no cursor of such a list.
    """

    def read(found: Any) -> Place:
        if type(found) is not kind or not _comparable(found):
            raise ValueError
        place: Place = found
        return place

    return _decode(cursor, read)


def moment_of(cursor: str | None) -> Moment | None:
    """As `place_of`, in a list that is newest first."""

    def read(found: Any) -> Moment:
        at, row_id = found
        if not (isinstance(row_id, str) and _comparable(row_id) and math.isfinite(float(at))):
            raise ValueError
        return float(at), row_id

    return _decode(cursor, read)


def _comparable(found: int | str) -> bool:
    """Every store can compare with it. Half of a surrogate pair raises a ValueError."""
    return bool(found.encode()) if isinstance(found, str) else 0 <= found <= ID_MAX


def _encode(place: int | str | Moment) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _decode(cursor: str | None, read: Callable[[Any], Found]) -> Found | None:
    if cursor is None:
        return None
    try:
        return read(json.loads(base64.b64decode(cursor[:LETTERS_MAX], altchars=b"-_", validate=True)))
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise invalid(
            [FieldFault(field="cursor", message="use the next_cursor of the page before")]
        ) from None
