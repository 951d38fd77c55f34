"""JSON that every side can write again, and so store, show and send on: of bounded depth, Unicode, finite numbers."""

import math
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator

DEPTH_MAX = 64
"""pydantic writes no JSON that is nested deeper than 255 levels, and reads none deeper than 200."""

Value = TypeVar("Value")


def check_plain(value: Value) -> Value:
    """Returns it unchanged.

    Raises:
        ValueError: it nests too deep, or holds half of a surrogate pair, NaN or an infinity.
    """
    left: list[tuple[Any, int]] = [(value, 1)]
    while left:
        one, depth = left.pop()
        if depth > DEPTH_MAX:
            raise ValueError(f"it nests deeper than {DEPTH_MAX} levels")
        if isinstance(one, dict):
            left += [(inner, depth + 1) for pair in one.items() for inner in pair]
        elif isinstance(one, list | tuple):
            left += [(inner, depth + 1) for inner in one]
        else:
            _check_leaf(one)
    return value


def _check_leaf(leaf: Any) -> None:
    if isinstance(leaf, str):
        try:
            leaf.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"it holds text that is not Unicode: {leaf[error.start : error.end]!a}"
            ) from error
    elif isinstance(leaf, float) and not math.isfinite(leaf):
        raise ValueError(f"it holds {leaf}, which is no number in JSON")


PlainObject = Annotated[dict[str, Any], AfterValidator(check_plain)]
