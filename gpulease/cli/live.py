"""A job as it goes on, or a file on its way: a bar on a terminal, of a job plain lines elsewhere. All on stderr."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from gpulease.cli.terminal import err
from gpulease.client import Client, ClientError, JobProgress
from gpulease.contract.jobs import EventView, JobView

EXPLAIN_AFTER_S = 3.0
STEP = 0.25
"""Plain lines come at each new phase, and at each quarter."""


class Show(Protocol):
    """Something that shows a job's events while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def take(self, event: EventView | JobProgress) -> None: ...
    def say(self, line: str) -> None: ...


class Bar:
    """One bar that follows phases and progress."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[message]}", style="dim"),
            console=console,
        )
        self._task: TaskID = self._progress.add_task("queued", total=1.0, message="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def take(self, event: EventView | JobProgress) -> None:
        match event:
            case JobProgress():
                self._progress.update(
                    self._task,
                    completed=event.progress,
                    description=str(event.phase),
                    message=event.message or "",
                )
            case EventView(after="succeeded"):
                self._progress.update(self._task, completed=1.0, description="succeeded", message="")
            case EventView(after=str(after)):
                self._progress.update(self._task, description=after, message=event.reason or "")
            case _:
                pass

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False)


class Lines:
    """A line for each move, each new phase, and each quarter of the way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: tuple[str, int] = ("", 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def take(self, event: EventView | JobProgress) -> None:
        if isinstance(event, JobProgress):
            self._take_progress(event)
        elif event.after and event.after != event.before:
            self.say(event.after + (f": {event.reason}" if event.reason else ""))

    def _take_progress(self, event: JobProgress) -> None:
        shown = (str(event.phase), int(event.progress / STEP))
        if shown != self._shown:
            self._shown = shown
            self.say(f"{event.phase} {event.progress:.0%}" + (f" {event.message}" if event.message else ""))

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)


@contextmanager
def sending(
    name: str, *, as_json: bool = False, console: Console = err
) -> Iterator[Callable[[int, int], None] | None]:
    """A bar that is told the bytes sent and in all, and goes when it is done; None where nothing is to be shown."""
    if as_json or not console.is_terminal:
        yield None
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), *columns, console=console, transient=True
    ) as shown:
        task = shown.add_task(name, total=None)
        yield lambda sent, total: shown.update(task, completed=sent, total=total)


def follow(client: Client, job_id: object, console: Console = err) -> JobView:
    """Shows the job until it has ended, and returns it. A job that still waits after 3 s says why."""
    name = str(job_id)
    show: Show = Bar(console) if console.is_terminal else Lines(console)
    explain = threading.Timer(EXPLAIN_AFTER_S, _explain, (client, name, show))
    explain.daemon = True
    with show:
        explain.start()
        try:
            for event in client.watch(name):
                show.take(event)
        finally:
            explain.cancel()
    return client.job(name)


def _explain(client: Client, job_id: str, show: Show) -> None:
    """Says why nothing runs the job; silent where that cannot be learnt, for the watcher will tell."""
    try:
        reason = client.job(job_id).blocked
    except (ClientError, RuntimeError):
        return
    if reason:
        show.say(f"Waiting: {reason}")
