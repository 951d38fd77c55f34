"""What goes wrong on an emulated ComfyUI."""

from dataclasses import dataclass, field


@dataclass
class Knobs:
    """Times are seconds. Everything may be turned while the server runs."""

    node_s: dict[str, float] = field(default_factory=dict)
    """How much longer nodes of a class take; they cannot be interrupted in that time."""
    step_s: float = 0.0
    """How long a step of the sampler takes; between two steps it can be interrupted."""
    fails: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Classes whose nodes raise: the exception's type and message."""
    missing_nodes: frozenset[str] = frozenset()
    checkpoints: tuple[str, ...] = ("svd_xt.safetensors",)
    sonic_models: tuple[str, ...] = ("unet.pth",)
    vram_gb: float | None = 24.0
    """None: it runs on the CPU."""
    loses_history: bool = False
    """What ends is forgotten at once."""
    drops_after: int | None = None
    """After so many frames all sockets are closed, once."""
    deaf_s: float = 0.0
    """For how long after that no socket is let in."""
    forbidden: bool = False
    bad_gateway: bool = False
    loses_replies: int = 0
    """So many next prompts are queued, but the reply says 502."""
    old: bool = False
    """A server of early 2025: it chooses ids itself, and interrupts whatever runs."""
    film_key: str = "gifs"
    silent_film: bool = False
    odd_names: bool = False
    """Names of results lead out of their folder, as on a server that nobody should trust."""
