"""What all wire models have in common."""

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """A message that we read strictly: a field we do not know is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Lenient(BaseModel):
    """A message from an older or foreign program: fields we do not know are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
