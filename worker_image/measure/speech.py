"""Speech for engines that listen, said by whichever engine here can speak."""

import shutil
from pathlib import Path

from worker_image.engines.base import EngineConfig
from worker_image.faults import Faulted
from worker_image.host.log import JobLog
from worker_image.host.process import EngineProcess
from worker_image.measure.materials import Material, Missing
from worker_image.measure.trial import LOAD_S_MAX, candidates


class Speaker:
    """Raises `Missing` where nothing here can speak."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config

    async def __call__(self, text: str, folder: Path) -> Path:
        reasons = []
        for one in candidates(self._config, frozenset({"csm"})):
            if isinstance(one.offer, str):
                continue
            try:
                return await self._by(one.backend, text, folder)
            except Faulted as fault:
                reasons.append(f"{one.backend}: {fault}")
        why = "; ".join(reasons) or "csm does not run here"
        raise Missing(f"no speech can be made for it: {why}. Name a job with --job")

    async def _by(self, backend: str, text: str, folder: Path) -> Path:
        place = folder / "speaking"
        host = await EngineProcess.start(backend, self._config, place)
        try:
            await host.load(None, LOAD_S_MAX)
            material = Material({"text": text, "max_audio_length": 60_000}, {}, "")
            job = material.job("csm", None, place / "job")
            made = await host.run(job, JobLog(host.log_path), lambda _: None)
            return Path(shutil.copyfile(made.files[0].path, folder / "speech"))
        finally:
            await host.end()
            shutil.rmtree(place, ignore_errors=True)
