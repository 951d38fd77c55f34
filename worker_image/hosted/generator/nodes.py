"""One machine that speaks gRPC, with the one thing that it is asked for."""

from provider_clients.static import StaticMachine
from worker_image.engines.video.target import Line, Target
from worker_image.hosted.generator.video import GeneratorVideo
from worker_image.hosted.remote import RemoteBackend


class GeneratorNode:
    def __init__(self, machine: StaticMachine) -> None:
        """Raises: ValueError: a file of its certificates cannot be read."""
        tls = (machine.tls_ca, machine.tls_cert, machine.tls_key)
        try:
            self._line = Line(Target(machine.url, *tls, api_key=machine.key))
        except OSError as error:
            raise ValueError(f"{machine.name}: {error.filename}: {error.strerror}") from error
        self.backends: tuple[RemoteBackend, ...] = (GeneratorVideo(machine, self._line),)

    async def answers(self) -> bool:
        return await self._line.why_not() is None

    async def aclose(self) -> None:
        await self._line.aclose()
