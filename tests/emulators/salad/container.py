"""One container: a process group with an environment and a folder of its own, ended by SIGKILL and nothing else."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from salad.sweep import MARK, kill_marked, kill_tree

INHERITED = ("PATH", "HOME", "VIRTUAL_ENV", "PYTHONPATH")


@dataclass(frozen=True)
class Container:
    folder: Path
    process: asyncio.subprocess.Process

    @classmethod
    async def start(
        cls, argv: tuple[str, ...], folder: Path, log: Path, environment: Mapping[str, str]
    ) -> Self:
        """A fresh `folder` is all that it finds. Raises OSError if the program cannot be started."""
        scratch = folder / "scratch"
        await asyncio.to_thread(scratch.mkdir, parents=True)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        own = {MARK: str(folder), "GPULEASE_SCRATCH": str(scratch)}
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(*argv, "--instance", str(folder)),
                env={**inherited, **environment, **own},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(folder, process)

    async def exit_code(self) -> int:
        """As a shell tells it: 137 for one that was killed."""
        code = await self.process.wait()
        return code if code >= 0 else 128 - code

    async def kill(self) -> None:
        """Ends the group and whatever left it, and takes the folder away. Safe to repeat."""
        if self.process.returncode is None:
            await asyncio.to_thread(kill_tree, self.process.pid)
        await self.process.wait()
        await asyncio.to_thread(kill_marked, self.folder)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
