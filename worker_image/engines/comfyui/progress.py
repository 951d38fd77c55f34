"""From ComfyUI's events to a share of the work: nodes by their weight, and in a sampler its steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_image.engines.comfyui.events import Event

_ENDED = frozenset(("execution_success", "execution_error", "execution_interrupted"))


@dataclass(slots=True)
class Progress:
    """`classes` is each node's class. `weights` are how much longer a node takes than others, where that is known."""

    prompt_id: str
    classes: Mapping[str, str]
    weights: Mapping[str, float] = field(default_factory=dict)
    cached: int = 0
    over: bool = False
    share: float = 0.0
    message: str | None = None
    step: int | None = None
    total_steps: int | None = None
    _parts: dict[str, float] = field(default_factory=dict)
    _current: str | None = None

    def note(self, event: Event) -> None:
        """Events of other prompts, and of unknown kinds, change nothing."""
        data = event.data
        if data.get("prompt_id") != self.prompt_id:
            return
        match event.kind:
            case "execution_cached":
                self._cached(data.get("nodes"))
            case "executing":
                self._executing(data.get("node"))
            case "progress":
                self._at(str(data.get("node")), data.get("value"), data.get("max"))
            case "progress_state":
                self._states(data.get("nodes"))
            case "executed":
                self._parts[str(data.get("node"))] = 1.0
            case kind:
                self.over = self.over or kind in _ENDED
        self._count()

    def _cached(self, nodes: Any) -> None:
        found = [str(node) for node in nodes] if isinstance(nodes, list) else []
        self.cached = len(found)
        self._parts.update(dict.fromkeys(found, 1.0))

    def _executing(self, node: Any) -> None:
        """A next node means that the one before it is done; none means that all is over."""
        if self._current is not None:
            self._parts[self._current] = 1.0
        self._current = None if node is None else str(node)
        self.step = self.total_steps = None
        self.over = self.over or node is None
        if self._current is not None:
            self.message = self.classes.get(self._current, f"node {self._current}")

    def _states(self, nodes: Any) -> None:
        for node, one in nodes.items() if isinstance(nodes, dict) else ():
            if not isinstance(one, dict):
                continue
            if one.get("state") == "finished":
                self._parts[str(node)] = 1.0
            else:
                self._at(str(node), one.get("value"), one.get("max"))

    def _at(self, node: str, value: Any, most: Any) -> None:
        if not (isinstance(value, int | float) and isinstance(most, int | float) and most > 0):
            return
        self._parts[node] = max(self._parts.get(node, 0.0), min(max(value / most, 0.0), 1.0))
        if most > 1:
            self.step, self.total_steps = int(value), int(most)
            self.message = f"{self.classes.get(node, node)}, step {int(value)} of {int(most)}"

    def _count(self) -> None:
        """It never goes back."""
        whole = sum(self.weights.get(node, 1.0) for node in self.classes) or 1.0
        done = sum(
            self.weights.get(node, 1.0) * part for node, part in self._parts.items() if node in self.classes
        )
        self.share = max(self.share, min(done / whole, 1.0))
