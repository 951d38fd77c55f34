"""Why nothing configured can run a need, in words that say what to do."""

from collections.abc import Callable
from dataclasses import replace

from scaling.place import Host, runnable
from scaling.plan import Blocked
from scaling.snapshot import Capability, Need, Snapshot
from scaling.states import WorkerState

Test = Callable[[Host], bool]
ENDED = frozenset({WorkerState.DRAINING, WorkerState.STOPPING, WorkerState.GONE})


def no_machine(need: Need, snapshot: Snapshot, count: int) -> Blocked:
    """For a need that no offer fits and no worker that takes jobs can run."""
    anywhere = replace(need, avoid=())
    alive = [one for one in snapshot.workers if one.state not in ENDED]
    fitting = [one for one in alive if runnable(anywhere, one)]
    if any(one.id in need.avoid for one in fitting):
        reason = "Every machine that could run it has failed it before; add another machine or provider."
        return Blocked("avoid", reason, need, count)
    if any(one.paused for one in fitting):
        return Blocked("paused", "Every machine that could run it is paused; resume one.", need, count)
    if fitting:
        reason = "Every machine that could run it is ending, and no offer replaces it; add a provider."
        return Blocked("no_offer", reason, need, count)
    if any(one.queues and runnable(replace(anywhere, queue=one.queues[0]), one) for one in alive):
        others = f"Every machine that could run it serves other queues than {need.queue!r}"
        return Blocked("queue", f"{others}; use one that they serve, or start a worker for it.", need, count)
    return Blocked("no_offer", _missing(need, snapshot), need, count)


def _missing(need: Need, snapshot: Snapshot) -> str:
    """Narrows all machines down, test by test, and names the test that leaves none."""
    hosts: list[Host] = [*snapshot.offers, *(one for one in snapshot.workers if one.state not in ENDED)]
    if not hosts:
        return "No provider sells anything and no worker is there; enable a provider or start a worker."
    for words, fits in _tests(need):
        hosts = [host for host in hosts if fits(host)]
        if not hosts:
            return f"{words}; change the job's requirements, or add a provider or worker that has it."
    return "Nothing configured can run it; add a provider or worker that can."


def _tests(need: Need) -> list[tuple[str, Test]]:
    def engines(host: Host) -> list[Capability]:
        return [one for one in host.capabilities if one.engine == need.engine]

    def models(host: Host) -> list[Capability]:
        return [one for one in engines(host) if need.model is None or need.model in one.models]

    def features(host: Host) -> bool:
        return any(set(need.features) <= set(one.features) for one in models(host))

    price = "any price" if need.usd_per_hour_max is None else f"{need.usd_per_hour_max:g} USD/hour"
    return [
        (f"No offer and no worker runs the engine {need.engine!r}", lambda host: bool(engines(host))),
        (f"None that runs {need.engine!r} has the model {need.model!r}", lambda host: bool(models(host))),
        (f"None of them has the features {', '.join(need.features)}", features),
        (f"None of them is of the provider {' or '.join(need.providers)}", lambda host: _sold(need, host)),
        (f"None of them has the GPU class {need.gpu_class!r}", lambda host: _classed(need, host)),
        (f"None of them has {need.min_vram_gb:g} GB of GPU memory", lambda h: h.vram_gb >= need.min_vram_gb),
        (f"None of them costs at most {price}", lambda host: _affordable(need, host)),
    ]


def _sold(need: Need, host: Host) -> bool:
    return not need.providers or host.provider in need.providers


def _classed(need: Need, host: Host) -> bool:
    return need.gpu_class is None or host.gpu_class == need.gpu_class


def _affordable(need: Need, host: Host) -> bool:
    return need.usd_per_hour_max is None or host.usd_per_hour <= need.usd_per_hour_max
