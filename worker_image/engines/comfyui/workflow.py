"""`comfyui`: a client's own workflow, with its files put on the server, and all that it makes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpulease.contract.engines import ComfyuiInput
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineJob, Outcome, Report
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.engines.comfyui.inputs import checked
from worker_image.engines.comfyui.outputs import fetched, outputs_of, packed
from worker_image.engines.comfyui.run import PATIENCE, Graph, Patience, run_graph
from worker_image.faults import InputFault
from worker_image.media.formats import Format, format_of

LISTED_MAX = 1_000
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,12}")
_SUFFIXES = {
    "jpeg": ".jpg",
    "tiff": ".tif",
    "matroska": ".mkv",
    "mpegts": ".ts",
    "asf": ".wmv",
    "aiff": ".aif",
}


async def run_workflow(
    server: ComfyUI, job: EngineJob, report: Report, patience: Patience = PATIENCE
) -> Outcome:
    asked = checked(ComfyuiInput, job.input)
    uploaded = {}
    for number, name in enumerate(asked.inputs):
        report(number / len(asked.inputs), f"uploading {name}", phase=Phase.PREPARING)
        path = Path(job.files[f"inputs.{name}"])
        uploaded[name] = await server.upload(path, suffix_of(name, path))
    report(0.0, "submitting the workflow")
    ending = await run_graph(server, Graph(with_files(asked.workflow, uploaded)), report, patience)
    files = outputs_of(ending.files)
    if not files:
        raise InputFault(
            "no_output", "the workflow left no file: previews do not count, so let a node save it"
        )
    paths = await fetched(server, files, job.out, report)
    data: dict[str, Any] = {"files": [path.name for path in paths[:LISTED_MAX]], "file_count": len(paths)}
    return Outcome(
        data=data | {"cached_nodes": ending.cached}, files=(packed(paths, job.out, Path(job.folder)),)
    )


def with_files(workflow: Mapping[str, Any], uploaded: Mapping[str, str]) -> dict[str, Any]:
    """The workflow with each value that is the name of an input exchanged for that file's name on the server.

    Links are lists, and so no node's id is ever taken for a name.
    """
    return {node: {**one, "inputs": _exchanged(one["inputs"], uploaded)} for node, one in workflow.items()}


def suffix_of(name: str, path: Path) -> str:
    """That of the input's own name, or else what the file is: nodes go by it."""
    suffix = Path(name).suffix
    if _SUFFIX.fullmatch(suffix):
        return suffix.lower()
    match format_of(path):
        case Format(name=found):
            return _SUFFIXES.get(found, f".{found}")
        case _:
            return ""


def _exchanged(inputs: Mapping[str, Any], uploaded: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: uploaded.get(value, value) if isinstance(value, str) else value
        for name, value in inputs.items()
    }
