"""From a request to a job: its parameters typed, its model found here, its folder where it may be."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import ValidationError

from gpulease.contract.agent import EngineOffer
from gpulease.contract.engines import CATALOGUE
from gpulease.contract.video_generator_pb2 import GenerateRequest, SubmitRequest
from worker_image.deliver.names import JOB_ID
from worker_image.engines.registry import choose
from worker_image.local import Asked
from worker_image.rpc.access import Refused, invalid

ENGINE = "video"
CANCEL_ON_CLOSE = "cancel_on_close"
_SPEC = CATALOGUE[ENGINE]
_ID = re.compile(JOB_ID)
_YES_OR_NO = {"true": True, "1": True, "false": False, "0": False}
_DIRECT = ("prompt", "model")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job, the folder for its video (None: it stays where it is made), and whether the stream's end is its end."""

    asked: Asked
    folder: Path | None = None
    cancel_on_close: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What this worker takes: jobs that one of its offers fits, folders below `root`."""

    offers: tuple[EngineOffer, ...]
    root: Path | None = None

    def wanted(self, said: GenerateRequest) -> Wanted:
        """Raises: Refused."""
        options = dict(said.options)
        closes = options.pop(CANCEL_ON_CLOSE, "false").lower()
        if closes not in _YES_OR_NO:
            raise invalid(f"options.{CANCEL_ON_CLOSE}", "true or false")
        told = _parameters(said.prompt) | options | ({"model": said.model} if said.model else {})
        folder = self._folder(said.scratch_dir)
        asked = self._asked(said.job_id, told, keep=folder is not None)
        return Wanted(asked, folder, _YES_OR_NO[closes])

    def submitted(self, said: SubmitRequest) -> Wanted:
        """Raises: Refused."""
        told = {
            "width": said.resolution_width,
            "height": said.resolution_height,
            "duration": said.duration_seconds,
            "quality": said.quality,
        }
        given = {name: value for name, value in told.items() if value}
        return Wanted(self._asked(said.job_id, {"prompt": said.prompt, **given}))

    def check_folder(self, path: Path) -> Path:
        """The folder without links, if it is one and below the root. Raises: ValueError."""
        if self.root is None:
            raise ValueError("this worker shares no folder (GPULEASE_GRPC_SCRATCH_ROOT); leave it empty")
        try:
            found = path.resolve(strict=True)
            root = self.root.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"there is no folder {str(path)[:200]!r} here") from error
        if not found.is_dir() or not found.is_relative_to(root):
            raise ValueError(f"{str(path)[:200]!r} is no folder below {root}")
        return found

    def _folder(self, scratch_dir: str) -> Path | None:
        if not scratch_dir:
            return None
        if "\0" in scratch_dir or not scratch_dir.startswith("/"):
            raise invalid("scratch_dir", "an absolute path")
        try:
            return self.check_folder(Path(scratch_dir))
        except ValueError as error:
            raise invalid("scratch_dir", str(error)) from error

    def _asked(self, job_id: str, told: Mapping[str, Any], *, keep: bool = False) -> Asked:
        if not _ID.fullmatch(job_id):
            raise invalid("job_id", "1 to 128 of letters, digits, dots, dashes and underscores, as in a UUID")
        try:
            asked = _SPEC.input_model.model_validate(told)
        except ValidationError as error:
            raise _refused(error) from error
        model = _SPEC.model_of(asked)
        offer = choose(self.offers, ENGINE, model)
        if offer is None or not set(_SPEC.features_of(asked)) <= set(offer.features):
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, self._missing(model))
        plain = asked.model_dump(mode="json", exclude_unset=True)
        return Asked(job_id, ENGINE, model, plain, deliver=True, keep=keep)

    def _missing(self, model: str | None) -> str:
        models = [name for one in self.offers if one.engine == ENGINE for name in one.models]
        if not models:
            return "This worker cannot make videos."
        return f"model: this worker has not {model!r}; it has {', '.join(models)}."


def _parameters(prompt: str) -> dict[str, Any]:
    """A prompt that is a JSON object is its parameters; any other text is the prompt."""
    try:
        said = json.loads(prompt) if prompt.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        said = None
    return said if isinstance(said, dict) else {"prompt": prompt}


def _refused(error: ValidationError) -> Refused:
    """Every fault of the parameters, each with its field."""
    faults = []
    for one in error.errors(include_url=False, include_input=False):
        name = ".".join(map(str, one["loc"]))[:100]
        field = name if name in _DIRECT else f"options.{name}"
        known = ", ".join((*_SPEC.input_model.model_fields, CANCEL_ON_CLOSE))
        faults.append(f"{field}: {f'there are {known}' if one['type'] == 'extra_forbidden' else one['msg']}")
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(faults)[:2000])
