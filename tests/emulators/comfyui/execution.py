"""Runs prompts one after the other, and tells of it in the order of the real server.

What has not changed since the prompt before is taken from there: its nodes are told of as cached, and are not run.
"""

import hashlib
import json
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, Protocol

from comfyui.catalogue import Made, NodeClass
from comfyui.running import Interrupted, Running
from comfyui.validation import Graph, is_link


class Teller(Protocol):
    """Takes frames for the client of the prompt; `broadcast` ones are for everybody."""

    def tell(self, kind: str, data: dict[str, Any], client_id: str | None) -> None: ...

    def tell_bytes(self, frame: bytes, client_id: str | None) -> None: ...


@dataclass
class Item:
    """A prompt in the queue, in the order of the wire."""

    number: float
    id: str
    graph: Graph
    extra: dict[str, Any]
    outputs: list[str]
    task: Any = None

    @property
    def client_id(self) -> str | None:
        return self.extra.get("client_id")

    def __lt__(self, other: "Item") -> bool:
        return self.number < other.number

    def wire(self) -> list[Any]:
        return [self.number, self.id, self.graph, self.extra, self.outputs]


class Failed(Exception):
    """A node raised."""

    def __init__(self, node: str, kind: str, said: str, trace: list[str]) -> None:
        super().__init__(said)
        self.node, self.kind, self.said, self.trace = node, kind, said, trace


@dataclass
class Execution:
    """One prompt. `cache` is what there is of the one before, and afterwards what there is of this one."""

    item: Item
    classes: dict[str, NodeClass]
    running: Running
    teller: Teller
    cache: dict[str, Made]
    messages: list[list[Any]] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    _states: dict[str, dict[str, Any]] = field(default_factory=dict)
    _current: str | None = None

    def __post_init__(self) -> None:
        self.running.progress = self._progress
        self.running.preview = lambda frame: self.teller.tell_bytes(frame, self.item.client_id)
        self._keys = {node: self._key(node) for node in self.item.graph}
        kept = set(self._keys.values())
        for key in [key for key in self.cache if key not in kept]:
            del self.cache[key]

    async def run(self) -> dict[str, Any]:
        """The entry for the history."""
        cached = [node for node, key in self._keys.items() if key in self.cache]
        self._message("execution_start", {})
        self._message("execution_cached", {"nodes": cached})
        try:
            for output in self.item.outputs:
                await self._run(output)
        except Interrupted:
            self._message("execution_interrupted", self._where())
            return self._entry(success=False)
        except Failed as failed:
            self._message("execution_error", self._where() | self._what(failed))
            return self._entry(success=False)
        self._message("execution_success", {})
        return self._entry(success=True)

    async def _run(self, node: str) -> Made:
        key = self._keys[node]
        if (found := self.cache.get(key)) is not None:
            if node in self.item.outputs and node not in self.executed:
                self._executed(node, found)
                self._state(node, 1, 1, "finished")
            return found
        inputs = {}
        for name, value in self.item.graph[node]["inputs"].items():
            inputs[name] = (await self._run(value[0])).values[value[1]] if is_link(value) else value
        self._current = node
        self._state(node, 0.0, 1.0, "running")
        self._tell("executing", {"node": node, "display_node": node})
        made = await self._made(node, inputs)
        self.cache[key] = made
        self._executed(node, made)
        state = self._states[node]
        self._state(node, state["max"], state["max"], "finished")
        self.executed.append(node)
        return made

    async def _made(self, node: str, inputs: dict[str, Any]) -> Made:
        class_type = self.item.graph[node]["class_type"]
        knobs = self.running.knobs
        await self.running.step(0.0)
        if class_type in knobs.fails:
            raise Failed(node, *knobs.fails[class_type], ['  File "execution.py", line 1\n'])
        try:
            made = await self.classes[class_type].run(self.running, **inputs)
        except Interrupted:
            raise
        except Exception as error:
            kind = f"{type(error).__module__}.{type(error).__name__}".removeprefix("builtins.")
            trace = traceback.format_tb(error.__traceback__)
            raise Failed(node, kind, str(error), trace) from error
        await self.running.pause(class_type)
        return made

    def _executed(self, node: str, made: Made) -> None:
        if made.shows is not None:
            self._tell("executed", {"node": node, "display_node": node, "output": made.shows})

    def _progress(self, value: int, most: int) -> None:
        node = str(self._current)
        self._state(node, value, most, "running")
        self._tell("progress", {"value": value, "max": most, "node": node})

    def _state(self, node: str, value: float, most: float, state: str) -> None:
        ids = {"node_id": node, "prompt_id": self.item.id, "display_node_id": node}
        place = {"parent_node_id": None, "real_node_id": node}
        self._states[node] = {"value": value, "max": most, "state": state, **ids, **place}
        self._tell("progress_state", {"nodes": {name: dict(one) for name, one in self._states.items()}})

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        self.teller.tell(kind, {**data, "prompt_id": self.item.id}, self.item.client_id)

    def _message(self, kind: str, data: dict[str, Any]) -> None:
        said = {**data, "prompt_id": self.item.id, "timestamp": int(time.time() * 1000)}
        self.messages.append([kind, said])
        self.teller.tell(kind, said, None if kind == "execution_interrupted" else self.item.client_id)

    def _where(self) -> dict[str, Any]:
        node = str(self._current)
        node_type = self.item.graph[node]["class_type"]
        return {"node_id": node, "node_type": node_type, "executed": list(self.executed)}

    def _what(self, failed: Failed) -> dict[str, Any]:
        inputs = self.item.graph[failed.node]["inputs"]
        return {
            "exception_message": failed.said,
            "exception_type": failed.kind,
            "traceback": failed.trace,
            "current_inputs": {name: [str(value)] for name, value in inputs.items()},
            "current_outputs": list(self.executed),
        }

    def _entry(self, *, success: bool) -> dict[str, Any]:
        shown = {
            node: made.shows
            for node in self.item.graph
            if (made := self.cache.get(self._keys[node])) is not None and made.shows is not None
        }
        meta = {
            node: {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
            for node in shown
        }
        words = {"status_str": "success" if success else "error", "completed": success}
        return {
            "prompt": self.item.wire(),
            "outputs": shown,
            "status": {**words, "messages": self.messages},
            "meta": meta,
        }

    def _key(self, node: str) -> str:
        """What a node's result hangs on: its class, its inputs, and those of the nodes before it."""
        one = self.item.graph.get(node)
        if one is None:
            return "missing"
        inputs = {
            name: [self._key(value[0]), value[1]] if is_link(value) else value
            for name, value in one["inputs"].items()
        }
        said = json.dumps([one["class_type"], inputs], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()
