"""What is run: every policy as it is documented and over a sweep of its main knob, with no bound on its machines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scaling.policy import Policy

OURS = "whatif"
CLAIRVOYANT = "clairvoyant"
SCENARIOS = ("comput3", "salad", "salad-free")
SPEEDS = (1.0, 10.0, 50.0)
SEEDS = (0, 1, 2)
LIMITS_S: Mapping[str, tuple[float, ...]] = {
    "comput3": (60.0, 90.0, 150.0),
    "salad": (150.0, 220.0, 300.0),
    "salad-free": (150.0, 220.0, 300.0),
}
DEFAULTS = "defaults"
FIELDS = frozenset({"aim", "idle_s", "target_p95_s"})
"""Settings that are fields of the policy; the others are knobs of the named one."""
Settings = Mapping[str, float | str]
KEDA = {
    "polling_period": 15.0,
    "stabilization_window": 300.0,
    "cooldown_period": 300.0,
    "tolerance": 0.1,
    "upscale_percent": 100.0,
    "upscale_pods": 4.0,
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """One knob of a policy over its values, the rest as it is given. `published`: a rule of somebody else's."""

    policy: str
    knob: str
    values: Sequence[float]
    rest: Settings = field(default_factory=dict)
    label: str = ""
    published: bool = True

    def settings(self) -> Iterator[Settings]:
        for value in self.values:
            yield {self.knob: value, **self.rest}

    @property
    def name(self) -> str:
        return self.label or self.policy


QUEUE = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
DELAYS_S = (1.0, 4.0, 10.0, 20.0, 40.0, 60.0, 90.0, 120.0, 180.0)
SWEEPS = (
    Sweep("fixed", "idle_s", (0.0, 15.0, 30.0, 60.0, 120.0, 600.0, 1200.0)),
    Sweep("queue_length", "desired_queue_length", QUEUE, {"max_replicas": 0.0}),
    Sweep("queue_length", "desired_queue_length", QUEUE, {"max_replicas": 0.0, **KEDA}, "queue_length, KEDA"),
    Sweep("queue_delay", "scaler_value", DELAYS_S, {"workers_max": 0.0}),
    Sweep(
        "queue_delay",
        "scaler_value",
        DELAYS_S,
        {"workers_max": 0.0, "idle_timeout": 60.0},
        "queue_delay, idle 60 s",
    ),
    Sweep(
        "queue_delay",
        "scaler_value",
        QUEUE,
        {"workers_max": 0.0, "scaler_type": 1.0},
        "queue_delay, by count",
    ),
    Sweep("concurrency", "container_concurrency", (1.0, 2.0, 3.0, 5.0, 8.0, 12.0), {"max_scale": 0.0}),
    Sweep(
        "ongoing",
        "target_ongoing_requests",
        (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0),
        {"min_replicas": 0.0, "max_replicas": 0.0},
    ),
    Sweep(
        "qps",
        "target_qps_per_replica",
        (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.1),
        {"min_replicas": 0.0, "max_replicas": 0.0},
    ),
    Sweep("static", "workers", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), published=False),
    Sweep(OURS, "target_p95_s", (30.0, 60.0, 90.0, 150.0, 220.0, 300.0, 450.0), published=False),
)
BY_DEFAULT = ("fixed", "queue_length", "queue_delay", "concurrency", "ongoing", "qps", "static", OURS)
POLICIES = (*BY_DEFAULT, CLAIRVOYANT)


@dataclass(frozen=True, slots=True)
class Case:
    """One point: a policy with what is set. `name` is the line of the picture that it is on."""

    name: str
    policy: str
    settings: Settings = field(hash=False)
    by_default: bool = False
    published: bool = False

    def says(self) -> str:
        """Its main knob; what is set beside it goes with its name."""
        return next(said(self.settings), DEFAULTS)


def said(settings: Settings) -> Iterator[str]:
    return (
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in settings.items()
    )


def cases(policies: Sequence[str] = POLICIES, scenario: str = "comput3") -> list[Case]:
    """All points of the policies named, in the order of the table."""
    found = []
    for policy in policies:
        sweeps = [one for one in SWEEPS if one.policy == policy]
        if policy in BY_DEFAULT:
            found.append(Case(policy, policy, {}, by_default=True, published=sweeps[0].published))
        for sweep in sweeps:
            found += [Case(sweep.name, policy, one, published=sweep.published) for one in sweep.settings()]
    if CLAIRVOYANT in policies:
        found += [Case(CLAIRVOYANT, CLAIRVOYANT, {"limit_s": one}) for one in LIMITS_S[scenario]]
    return found


def compared(case: Case, scenario: str) -> bool:
    """Whether it is of what is claimed: ours at the limits of a scenario, and it and `fixed` without settings."""
    if case.policy == OURS:
        return case.by_default or case.settings["target_p95_s"] in LIMITS_S[scenario]
    return case.by_default and case.policy == "fixed"


def policy_of(case: Case) -> Policy:
    """The policy as the simulator takes it."""
    fields = {key: value for key, value in case.settings.items() if key in FIELDS}
    knobs = {key: float(value) for key, value in case.settings.items() if key not in FIELDS}
    return Policy(name=case.policy, knobs=knobs, **fields)  # type: ignore[arg-type]
