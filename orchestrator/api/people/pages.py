"""Lists in pages: an opaque cursor names the last row of the page before."""

import base64
import binascii
import json
from collections.abc import Callable, Iterable
from typing import Annotated, TypeVar

from fastapi import Query

from gpulease.contract.problems import FieldFault, invalid

ID_MAX = 2**53
Place = TypeVar("Place", int, str)
Row = TypeVar("Row")
Limit = Annotated[int, Query(ge=1, le=500)]


def cut(rows: list[Row], limit: int, place: Callable[[Row], int | str]) -> tuple[list[Row], str | None]:
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
    if cursor is None:
        return None
    try:
        found = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        if type(found) is kind and _sane(found):
            place: Place = found
            return place
    except (ValueError, binascii.Error):
        pass
    raise invalid([FieldFault(field="cursor", message="use the next_cursor of the page before")])


def _sane(found: int | str) -> bool:
    """Every store can compare with it. Half of a surrogate pair raises a ValueError."""
    return bool(found.encode()) if isinstance(found, str) else 0 <= found <= ID_MAX


def _encode(place: int | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
