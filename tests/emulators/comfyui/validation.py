"""What `/prompt` says against a graph, in the server's own words."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfyui.catalogue import NodeClass

Graph = dict[str, dict[str, Any]]
Fault = dict[str, Any]


@dataclass
class Verdict:
    """`outputs` would run. With an `error` nothing does."""

    outputs: list[str] = field(default_factory=list)
    error: Fault | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


def judge(graph: Graph, classes: dict[str, NodeClass], inputs: Path) -> Verdict:
    for node, one in graph.items():
        if "class_type" not in one:
            what = "Cannot execute because a node is missing the class_type property."
            return Verdict(error=_fault("invalid_prompt", what, f"Node ID '#{node}'"))
        if one["class_type"] not in classes:
            what = f"Cannot execute because node {one['class_type']} does not exist."
            return Verdict(error=_fault("invalid_prompt", what, f"Node ID '#{node}'"))
    outputs = [node for node, one in graph.items() if classes[one["class_type"]].is_output]
    if not outputs:
        return Verdict(error=_fault("prompt_no_outputs", "Prompt has no outputs"))
    return _judge_outputs(_Look(graph, classes, inputs), outputs)


def _judge_outputs(look: "_Look", outputs: list[str]) -> Verdict:
    verdict = Verdict()
    for output in outputs:
        bad = [node for node in look.upstream(output) if look.faults(node)]
        if not bad:
            verdict.outputs.append(output)
        for node in bad:
            entry = verdict.node_errors.setdefault(
                node,
                {
                    "errors": look.faults(node),
                    "dependent_outputs": [],
                    "class_type": look.graph[node]["class_type"],
                },
            )
            entry["dependent_outputs"].append(output)
    if not verdict.outputs:
        verdict.error = _fault("prompt_outputs_failed_validation", "Prompt outputs failed validation")
    return verdict


@dataclass
class _Look:
    graph: Graph
    classes: dict[str, NodeClass]
    inputs: Path

    def upstream(self, node: str) -> list[str]:
        """The node and all that it needs, each once."""
        found: list[str] = []
        todo = [node]
        while todo:
            one = todo.pop()
            if one in found or one not in self.graph:
                continue
            found.append(one)
            todo += [value[0] for value in self.graph[one]["inputs"].values() if is_link(value)]
        return found

    def faults(self, node: str) -> list[Fault]:
        one = self.graph[node]
        named = self.classes[one["class_type"]].inputs
        return [
            fault
            for name, config in named.items()
            if (fault := self._input_fault(one["class_type"], name, config, one["inputs"].get(name)))
            is not None
        ]

    def _input_fault(self, class_type: str, name: str, config: list[Any], value: Any) -> Fault | None:
        if value is None:
            return _fault("required_input_missing", "Required input is missing", name, input_name=name)
        if is_link(value):
            return self._link_fault(name, config, value)
        if class_type in ("LoadImage", "LoadAudio"):
            if (self.inputs / value).is_file():
                return None
            kind = class_type.removeprefix("Load").lower()
            said = f"{name} - Invalid {kind} file: {value}"
            return _fault(
                "custom_validation_failed",
                "Custom validation failed for node",
                said,
                input_name=name,
                input_config=config,
                received_value=value,
            )
        return _value_fault(name, config, value)

    def _link_fault(self, name: str, config: list[Any], link: list[Any]) -> Fault | None:
        slots = self.classes[self.graph[link[0]]["class_type"]].output if link[0] in self.graph else ()
        if link[1] >= len(slots):
            return _fault("bad_linked_input", "Bad linked input", name, input_name=name, received_value=link)
        if slots[link[1]] == config[0]:
            return None
        said = f"{name}, received_type({slots[link[1]]}) mismatch input_type({config[0]})"
        what = "Return type mismatch between linked nodes"
        return _fault("return_type_mismatch", what, said, input_name=name, received_type=slots[link[1]])


def _value_fault(name: str, config: list[Any], value: Any) -> Fault | None:
    known = {"input_name": name, "input_config": config}
    if isinstance(config[0], list):
        if value in config[0]:
            return None
        said = f"{name}: '{value}' not in {config[0]}"
        return _fault("value_not_in_list", "Value not in list", said, **known, received_value=value)
    if config[0] not in ("INT", "FLOAT"):
        return None
    try:
        read = int(value) if config[0] == "INT" else float(value)
    except (TypeError, ValueError) as error:
        what = f"Failed to convert an input value to a {config[0]} value"
        more = {"received_value": value, "exception_message": str(error)}
        return _fault("invalid_input_type", what, f"{name}, {value}, {error}", **known, **more)
    return _range_fault(name, config, read)


def _range_fault(name: str, config: list[Any], value: float) -> Fault | None:
    known = {"input_name": name, "input_config": config, "received_value": value}
    low, high = config[1]["min"], config[1]["max"]
    if value < low:
        return _fault("value_smaller_than_min", f"Value {value} smaller than min of {low}", name, **known)
    if value > high:
        return _fault("value_bigger_than_max", f"Value {value} bigger than max of {high}", name, **known)
    return None


def is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _fault(kind: str, message: str, details: str = "", **extra: Any) -> Fault:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
