"""Regular expressions that an operator wrote, on values that anybody may send: in a process of bounded time.

Some expressions take for ever on some values, and hold up the whole program while they do.
"""

import asyncio
import json
import sys
from collections.abc import Sequence

WALL_S_MAX = 10.0
AT_ONCE_MAX = 2
_PROGRAM = """
import json, re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
json.dump([re.fullmatch(regex, text) is not None for regex, text in json.load(sys.stdin)], sys.stdout)
"""


class Regexes:
    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def match(self, asked: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether each expression matches the whole of its text. Those that cannot tell within a second of the
        processor, all together, have not matched.
        """
        if not asked:
            return []
        async with self._turns:
            said = await _run(json.dumps(asked).encode())
        return json.loads(said) if said else [False] * len(asked)


async def _run(asked: bytes) -> bytes | None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", "-c", _PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        async with asyncio.timeout(WALL_S_MAX):
            said, _ = await process.communicate(asked)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said if process.returncode == 0 else None
