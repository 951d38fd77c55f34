"""JSON that every side can write again, and so store, show and send on: of bounded depth, and Unicode."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator

DEPTH_MAX = 64
"""pydantic writes no JSON that is nested deeper than 255 levels, and reads none deeper than 200."""

Value = TypeVar("Value")


def check_plain(value: Value) -> Value:
    """Returns it unchanged. NaN and infinities pass: as JSON, pydantic writes null for them.

    Raises:
        ValueError: it nests too deep, or holds text that is not Unicode, such as half of a surrogate pair.
    """
    for leaf in _leaves(value):
        if isinstance(leaf, str):
            _check_text(leaf)
    return value


def check_asked(value: Value) -> Value:
    """As `check_plain`, and its numbers are JSON's."""
    for leaf in _leaves(check_plain(value)):
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise ValueError(f"it holds {leaf}, which is no number in JSON")
    return value


def _leaves(value: Any) -> Iterator[Any]:
    left = [(value, 1)]
    while left:
        one, depth = left.pop()
        if depth > DEPTH_MAX:
            raise ValueError(f"it nests deeper than {DEPTH_MAX} levels")
        if isinstance(one, dict):
            left += [(inner, depth + 1) for pair in one.items() for inner in pair]
        elif isinstance(one, list | tuple):
            left += [(inner, depth + 1) for inner in one]
        else:
            yield one


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it holds text that is not Unicode: {text[error.start : error.end]!a}") from error


PlainObject = Annotated[dict[str, Any], AfterValidator(check_asked)]
