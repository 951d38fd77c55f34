"""The worker's log as its owner reads it: one sentence a line, or JSON for programs."""

import sys
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any, Literal

import structlog

Talk = Literal["plain", "words", "json"]

_INFO = 20
_SENTENCES = {
    "not_offered": "Not offered: {backend}. {reason}",
    "connecting": "Connecting to {url} as {worker_id}.",
    "no_answer": "{url} does not answer yet; it is asked again. {error}",
    "registered": "Connected to {url} as {worker_id}. Offers {engines}; jobs at once: {capacity}.",
    "listening": "Answers /hc and /generate at http://{host}:{port}.",
    "port_taken": "Port {port} is taken, so /hc and /generate are not served. --port names another one, or -1.",
    "attempt_started": "Job {job} ({engine}) began.",
    "attempt_ended": "Job {job} ({engine}) ended after {took_s} s: {how}",
    "connection_lost": "The connection is lost; running jobs go on. {error}",
    "connection_back": "Connected again, after {after_s} s.",
    "told_to_pause": "The orchestrator pauses this worker: no new jobs.",
    "told_to_drain": "The orchestrator lets this worker go once its jobs have ended.",
    "told_to_resume": "The orchestrator asks for work again.",
    "owner_paused": "You paused this worker: no new jobs. SIGUSR1 to process {pid} resumes it.",
    "owner_resumed": "You resumed this worker.",
    "stopping": "Stopping: running jobs have {grace_s:.0f} s, then they go elsewhere. The same again ends all at once.",
    "resting": "Nothing to serve: engines are unloaded, and it asks again every {every_s:.0f} s.",
    "stopped": "Stopped. Jobs run: {jobs}.",
    "refused": "The orchestrator refuses this worker, so it ends. Check --worker-id and --key. {error}",
    "let_go": "The orchestrator has no more use for this worker: {reason}",
    "orphaned": "The orchestrator was out of reach for {silent_s} s; running jobs are given up.",
    "no_orchestrator": "The orchestrator cannot be reached. {error}",
    "gpu": "This machine's GPU: {gpu_class}, {vram_gb} GB, driver {driver}, CUDA {cuda}.",
    "too_large": "Not offered: {backend} needs {needs_gb} GB of GPU memory, and there are {vram_gb} GB.",
    "unfit": "This machine cannot serve: {reason}",
    "fit_again": "This machine can serve again.",
    "reallocation_asked": "Asked Salad for another machine: {reason}",
    "clock_off": "This machine's clock is {off_s:.0f} s off; signed URLs may be refused. Set it by NTP.",
    "cannot_listen": "Cannot listen on {host}:{port}: {error}; {hint}",
}
_SAID_OTHERWISE = frozenset({"attempt_failed", "attempt_dropped"})


def talk_as(talk: Talk) -> None:
    """Sets how this process logs, on its standard error."""
    plain = structlog.WriteLoggerFactory(file=sys.stderr)
    if talk == "plain":
        structlog.configure(logger_factory=plain)
        return
    last: list[Any] = [_words] if talk == "words" else [structlog.processors.JSONRenderer()]
    structlog.configure(
        logger_factory=plain,
        wrapper_class=structlog.make_filtering_bound_logger(_INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            *last,
        ],
    )


def _words(_: Any, __: str, said: MutableMapping[str, Any]) -> str:
    name = str(said.get("event"))
    if name in _SAID_OTHERWISE:
        raise structlog.DropEvent
    now = datetime.now().astimezone().strftime("%H:%M:%S")
    return f"{now}  {sentence(name, said)}"


def sentence(name: str, said: MutableMapping[str, Any]) -> str:
    """An event without a sentence of its own is its name and what it carries."""
    plain = {
        key: ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        for key, value in said.items()
    }
    pattern = _SENTENCES.get(name)
    if pattern is not None:
        return pattern.format_map(plain).rstrip()
    rest = (f"{key}={value}" for key, value in plain.items() if key not in ("event", "level", "timestamp"))
    return " ".join((name.replace("_", " ") + ":", *rest))
