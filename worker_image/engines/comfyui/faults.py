"""Whose fault it is that a graph does not run: the client's, whose graph it is, or this server's.

Our own graphs are right, so what is refused in them is the server's fault.
"""

import re
from typing import Any

from worker_image.engines.comfyui.replies import Failure, NodeError, Refusal
from worker_image.faults import Faulted, HostFault, InputFault

_MODEL = re.compile(r"\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|engine)$", re.IGNORECASE)
_NO_NODE = ("missing_node_type", "invalid_prompt")
_OUT_OF_MEMORY = re.compile(r"OutOfMemoryError$")
_OF_HOST = re.compile(
    r"\b(CUDA|cuDNN|cuBLAS|NCCL|HIP)\b|out of memory|ran out of memory|no space left|disk quota|read-only file system"
    r"|too many open files|driver|connection|ffmpeg",
    re.IGNORECASE,
)
_OF_FACE = re.compile(r"\bfaces?\b", re.IGNORECASE)
SHOWN_MAX = 5


def refused(refusal: Refusal, *, ours: bool) -> Faulted:
    """Names the node, its input and what the server says of it."""
    missing = next((one for one in refusal.nodes if _lacks_model(one)), None)
    if missing is not None:
        return HostFault("model_missing", f"this ComfyUI has no model {missing.received!r} ({missing})")
    listed = [str(one) for one in refusal.nodes[:SHOWN_MAX]]
    more = [f"and {len(refusal.nodes) - SHOWN_MAX} more"] if len(refusal.nodes) > SHOWN_MAX else []
    why = "; ".join([*listed, *more]) or refusal.said
    if ours:
        code = "node_missing" if refusal.kind in _NO_NODE else "graph_refused"
        return HostFault(code, f"this ComfyUI does not take the graph: {why}")
    if refusal.kind in _NO_NODE and not refusal.nodes:
        return InputFault("node_missing", f"workflow: {why}")
    return InputFault("workflow_invalid", f"workflow: {why}")


def failed(failure: Failure, *, ours: bool) -> Faulted:
    """A node that raised: the machine's fault where it says so or the graph is ours, else the graph's."""
    where = f"node {failure.node} ({failure.class_type})"
    why = f"ComfyUI failed in {where}: {failure.exception}: {failure.said}"
    if runs_out_of_memory(failure):
        return HostFault("out_of_memory", why)
    if _OF_HOST.search(f"{failure.exception} {failure.said}"):
        return HostFault("node_failed", why)
    if not ours:
        return InputFault("node_failed", why)
    if _OF_FACE.search(failure.said):
        return InputFault("no_face", f"image_url: no face was found in the image: {failure.said}")
    return HostFault("node_failed", why)


def runs_out_of_memory(failure: Failure) -> bool:
    return _OUT_OF_MEMORY.search(failure.exception) is not None


def _lacks_model(error: NodeError) -> bool:
    return error.kind == "value_not_in_list" and _names_model(error.received)


def _names_model(value: Any) -> bool:
    return isinstance(value, str) and _MODEL.search(value) is not None
