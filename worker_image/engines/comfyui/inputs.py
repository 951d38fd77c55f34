"""The input of a job, once more against its model: a worker may get jobs that nobody has looked at."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from worker_image.faults import InputFault

Asked = TypeVar("Asked", bound=BaseModel)


def checked(model: type[Asked], given: dict[str, Any]) -> Asked:
    """Raises: InputFault: with every fault."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}".lstrip(": ") for one in error.errors())
        raise InputFault("input_invalid", "; ".join(faults)) from error
