"""What results are called where people look for them: `{job id}.mp4`, as the earlier systems had it."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

JOB_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
"""An id that may be part of a file's name anywhere: no separator, no leading dot or dash, room for an ending."""

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_ENDING = re.compile(r"\.[a-z0-9]{1,8}")


def result_names(job_id: str, made: Iterable[str]) -> tuple[str, ...]:
    """A name for each file, in order: the id with the file's ending, and the file's own name where that is taken."""
    names: list[str] = []
    for name in made:
        ending = PurePosixPath(name).suffix.lower()
        wanted = job_id + (ending if _ENDING.fullmatch(ending) else "")
        if wanted in names:
            wanted = f"{job_id}_{_ODD.sub('_', name)[-80:]}"
        while wanted in names:
            wanted = f"{len(names)}_{wanted}"
        names.append(wanted)
    return tuple(names)
