"""All backends by name. They are imported only when they are asked about."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from gpulease.contract.agent import EngineOffer
from worker_image.engines.base import Backend, EngineConfig
from worker_image.settings import Settings, load

BACKENDS = {
    "grpc": "worker_image.engines.video.remote:GrpcVideo",
    "diffusers": "worker_image.engines.video.diffused:Diffused",
    "sesame": "worker_image.engines.csm_sesame:Sesame",
    "hibari": "worker_image.engines.csm_hibari:Hibari",
    "faster-whisper": "worker_image.engines.whisper_faster:FasterWhisper",
    "ollama": "worker_image.engines.analyze.ollama:Ollama",
    "openai-vision": "worker_image.engines.analyze.openai:OpenAiVision",
    "measures": "worker_image.engines.analyze.measures:Measures",
    "command": "worker_image.engines.command:Command",
    "blender": "worker_image.engines.blender.backend:Blender",
    "musetalk": "worker_image.engines.musetalk.resident:Resident",
    "musetalk-one-shot": "worker_image.engines.musetalk.one_shot:OneShot",
    "sonic": "worker_image.engines.comfyui.backends:Sonic",
    "comfyui": "worker_image.engines.comfyui.backends:Workflows",
}
"""The order is the preference where two backends run the same engine and model."""


def make(name: str, config: EngineConfig) -> Backend:
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(import_module(module), attribute)(config)
    return backend


def config_of(settings: Settings) -> EngineConfig:
    return EngineConfig(**{one.name: _plain(getattr(settings, one.name)) for one in fields(EngineConfig)})


def _plain(value: Any) -> Any:
    match value:
        case Path():
            return str(value.absolute())
        case SecretStr():
            return value.get_secret_value()
        case _:
            return value


def probe_all(config: EngineConfig | None = None) -> tuple[list[EngineOffer], dict[str, str]]:
    """What this machine can run, and for each backend that it cannot, why. Without a config: the environment's."""
    config = config or config_of(load())
    offers: list[EngineOffer] = []
    reasons: dict[str, str] = {}
    with ThreadPoolExecutor(len(BACKENDS)) as threads:  # Most wait for a program or for a server.
        found = threads.map(lambda name: _probe(name, config), BACKENDS)
        for name, said in zip(BACKENDS, found, strict=True):
            if isinstance(said, str):
                reasons[name] = said
            else:
                offers.append(said)
    return offers, reasons


def _probe(name: str, config: EngineConfig) -> EngineOffer | str:
    """One that cannot even be imported here must not take the others with it."""
    try:
        return make(name, config).probe()
    except ImportError as error:
        return f"not installed: {error.name or error}"


def choose(offers: tuple[EngineOffer, ...], engine: str, model: str | None) -> EngineOffer | None:
    """The first offer of the engine that has the model; an unset model is any."""
    return next((one for one in offers if one.engine == engine and model in (None, *one.models)), None)
