"""The memory store as the model, and SQLite, which must answer as it does."""

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from orchestrator.store.memory import MemoryStore
from orchestrator.store.protocol import Store
from orchestrator.store.sqlite import open_sqlite


class TwoStores(RuleBasedStateMachine):
    """`answers` are the errors that a store may give for an answer."""

    answers: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.model = MemoryStore()
        self.sqlite = self.runner.run(open_sqlite(Path(self.folder.name) / "a.db"))
        self.now = 0.0

    def teardown(self) -> None:
        self.runner.run(self.sqlite.aclose())
        self.runner.close()
        self.folder.cleanup()

    def both(self, verb: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
        """Asks both, and gives their common answer."""
        expected, got = (self.runner.run(self._asked(verb, store)) for store in (self.model, self.sqlite))
        assert got == expected
        return got

    async def _asked(self, verb: Callable[[Store], Coroutine[Any, Any, Any]], store: Store) -> Any:
        try:
            return await verb(store)
        except self.answers as error:
            return type(error)
