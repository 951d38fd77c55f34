"""Comput3's media nodes: two Gradio apps and a ComfyUI, which all want the account's key."""

import asyncio
from dataclasses import dataclass

import httpx

from gpulease.contract.hosts import Duty
from worker_image.engines.comfyui.client import ComfyUI
from worker_image.hosted.comfyui.backends import Boot, NodeComfy, SonicNode, WorkflowNode
from worker_image.hosted.gradio.client import Gradio
from worker_image.hosted.gradio.csm import CsmGradio
from worker_image.hosted.gradio.whisper import WhisperGradio
from worker_image.hosted.remote import RemoteBackend

HEALTH_S_MAX = 5.0
TRIES = 3
TRIES_APART_S = 2.0


@dataclass(frozen=True, slots=True)
class Ui:
    """Where a node's ComfyUI is, `{node}` in it being the node's name, and for how long it is waited for."""

    url: str = "https://ui-{node}"
    wait_s: float = 120.0

    def of(self, address: str) -> str:
        return self.url.replace("{node}", address.partition("://")[2] or address).rstrip("/")


class MediaNodes:
    def __init__(self, key: str, delay_s: float, ui: Ui) -> None:
        self.delay_s = delay_s
        self._headers = {"X-C3-API-KEY": key}
        self._ui = ui

    def node(self, duty: Duty, incarnation: str) -> "MediaNode":  # noqa: ARG002  The apps know no agents.
        return MediaNode(duty.address.rstrip("/"), self._headers, self._ui)

    async def aclose(self) -> None:
        pass


class MediaNode:
    """`address` is a URL, or the bare name of a host."""

    def __init__(self, address: str, headers: dict[str, str], ui: Ui) -> None:
        base_url = address if "://" in address else f"https://{address}"
        self._csm = Gradio(f"{base_url}/csm", headers)
        self._whisper = Gradio(f"{base_url}/whisper", headers)
        self._comfy = ComfyUI(ui.of(address), headers)
        comfy = NodeComfy(self._comfy, Boot(ui.wait_s))
        self.backends: tuple[RemoteBackend, ...] = (
            CsmGradio(self._csm),
            WhisperGradio(self._whisper),
            SonicNode(comfy),
            WorkflowNode(comfy),
        )
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers={"User-Agent": "gpulease", **headers},
            timeout=HEALTH_S_MAX,
            trust_env=False,
        )

    async def answers(self) -> bool:
        """Whether its root is answered 200, asked up to three times."""
        for number in range(TRIES):
            if number:
                await asyncio.sleep(TRIES_APART_S)
            try:
                if (await self._client.get("/")).status_code == httpx.codes.OK:
                    return True
            except httpx.HTTPError:
                continue
        return False

    async def aclose(self) -> None:
        for one in (self._client, self._csm, self._whisper, self._comfy):
            await one.aclose()
