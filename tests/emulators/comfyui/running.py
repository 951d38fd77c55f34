"""What a node sees of the server while it runs."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyui.knobs import Knobs


class Interrupted(Exception):
    pass


@dataclass
class Running:
    """`progress` and `preview` tell the client of the prompt; `interrupted` says whether somebody wants it to end."""

    knobs: Knobs
    folder: Path
    interrupted: Callable[[], bool]
    progress: Callable[[int, int], None] = lambda _, __: None
    preview: Callable[[bytes], None] = lambda _: None

    @property
    def inputs(self) -> Path:
        return self.folder / "input"

    async def step(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.interrupted():
            raise Interrupted

    async def pause(self, class_type: str) -> None:
        """What such a node takes longer, in which nobody can interrupt it."""
        await asyncio.sleep(self.knobs.node_s.get(class_type, 0.0))

    def next_file(self, kind: str, prefix: str, end: str) -> Path:
        """Numbered after what is there with that prefix, which may have folders before it."""
        base = self.folder / kind / prefix
        base.parent.mkdir(parents=True, exist_ok=True)
        taken = {path.name for path in base.parent.iterdir()}
        for number in itertools.count(1):
            stem = f"{base.name}_{number:05}"
            if not any(name.startswith(stem) for name in taken):
                return base.with_name(stem + end)
        raise AssertionError

    def shown(self, path: Path, kind: str) -> dict[str, Any]:
        folder = path.parent.relative_to(self.folder / kind)
        name = f"../../{path.name}" if self.knobs.odd_names else path.name
        return {"filename": name, "subfolder": "" if folder == Path() else str(folder), "type": kind}
