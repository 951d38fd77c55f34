"""What the farm's clients send and get, with the farm's own names."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from orchestrator.api.edge.cursors import ROW_MAX

TaskNumber = Annotated[int, Field(ge=0, le=ROW_MAX)]


class Body(BaseModel):
    """In Python's names within, in the farm's on the wire; what is not known is ignored."""

    model_config = ConfigDict(alias_generator=to_pascal, validate_by_name=True, frozen=True)


class Argument(Body):
    arg_type_id: str = Field(max_length=200)
    value: str | int | float


class EnqueueRequest(Body):
    """The part `request` of the form."""

    engine_id: int = Field(ge=0, le=ROW_MAX)
    arguments: list[Argument] = Field(default_factory=list, max_length=100)


class TaskRequest(Body):
    task_id: TaskNumber


class EnqueueReply(Body):
    is_added: bool
    error_message: str


class DequeueReply(Body):
    is_removed: bool
    error_message: str


class DownloadReply(Body):
    download_provided: bool
    error_message: str


class DeleteReply(Body):
    is_deleted: bool
    error_message: str


class User(Body):
    user_id: int
    first_name: str
    last_name: str
    email: str
    subscription_id: int
    is_active: bool


class Task(Body):
    """Times are in UTC and without a zone, in whole seconds. A failed task has an end and is neither running nor
    successful.
    """

    task_id: int
    user_id: int
    queue_time: str
    start_time: str | None
    end_time: str | None
    is_running: bool
    is_success: bool
    render_id: int
    machine_id: int | None


class Render(Body):
    render_id: int
    file_name: str
    file_path: str = ""
    file_size: int
    arguments: str
    engine_id: int


class Engine(Body):
    engine_id: int
    name: str
    extension: str
    download_path: str
    render_argument: str


class TaskInfo(Body):
    task: Task
    render: Render
    engine: Engine


class InfoReply(Body):
    user: User
    tasks: tuple[TaskInfo, ...] = Field(description="The last 15, newest first.")


class Refused(Body):
    user: None = None
    tasks: tuple[Any, ...] = ()
    error_message: str
