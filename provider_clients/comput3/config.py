"""What ops decide about Comput3, and how long its client waits for what."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Patience:
    """`list_lag_s` is how long `/workloads` may miss a new workload; then a doubtful launch is left in doubt."""

    list_lag_s: float = 10.0
    look_every_s: float = 2.0
    launch_gap_s: float = 2.0
    """Between two launches, which the API wants apart."""
    probe_tries: int = 3
    probe_gap_s: float = 2.0
    probe_s_max: float = 5.0


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Comput3Config:
    """`kinds` are workload types, as `/types` names them. `usd_per_hour` is ours to know: no call tells prices.

    `exclusive` says that the account runs nothing but this deployment's workloads. The name of a new node is not
    looked up before `node_delay_s`: an early "no such name" is remembered on the way for half an hour.
    """

    api_key: str = field(repr=False)
    base_url: str = "https://api.comput3.ai/api/v0"
    kinds: tuple[str, ...] = ("media:fast",)
    lease_s: float = 7200.0
    replace_s: float = 3600.0
    usd_per_hour: float = 1.0
    node_scheme: str = "https"
    node_delay_s: float = 15.0
    exclusive: bool = False
    patience: Patience = PATIENCE
