"""Cursors of lists that are newest first: the time and the id of the last row of the page before."""

import base64
import binascii
import json
import math

from gpulease.contract.problems import FieldFault, invalid

LETTERS_MAX = 400
ROW_MAX = 2**63 - 1
"""The greatest whole number that every store can compare with."""


def encode(at: float, row_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([at, row_id]).encode()).decode()


def decode(cursor: str | None) -> tuple[float, str] | None:
    """Raises: ProblemError: 422, it is no cursor."""
    if cursor is None:
        return None
    try:
        at, row_id = json.loads(base64.b64decode(cursor[:LETTERS_MAX], altchars=b"-_", validate=True))
        if isinstance(row_id, str) and row_id.encode() and math.isfinite(float(at)):
            return float(at), row_id
    except (ValueError, TypeError, OverflowError, binascii.Error):
        pass
    raise invalid([FieldFault(field="cursor", message="use the next_cursor of the page before")])
