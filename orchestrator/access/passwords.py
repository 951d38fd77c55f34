"""Passwords: hashed with Argon2id, in threads, two at once, since each takes 64 MiB and a core for a while."""

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gpulease.contract.problems import FieldFault, ProblemError, invalid

LETTERS_MIN = 10
LETTERS_MAX = 1000
AT_ONCE = 2
WAITING_MAX = 50
Done = TypeVar("Done")


def check_password(password: str, field: str = "password") -> None:
    """Whether it may be a new one.

    Raises:
        ProblemError: 422.
    """
    if not LETTERS_MIN <= len(password) <= LETTERS_MAX:
        message = f"it has {len(password)} letters; it needs {LETTERS_MIN} to {LETTERS_MAX}"
        raise invalid([FieldFault(field=field, message=message)])


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """With its salt and costs, in the usual form.

        Raises:
            ProblemError: 503, too many wait.
        """
        return await self._in_turn(self._hasher.hash, password)

    async def check(self, password: str, known: str | None) -> bool:
        """Whether it is the one that was hashed; as long for None, so that nobody learns who has an account.

        Raises:
            ProblemError: 503, too many wait.
        """
        if self._decoy is None:
            self._decoy = await self.hash(secrets.token_urlsafe())
        right = await self._in_turn(self._verify, known or self._decoy, password)
        return right and known is not None

    def _verify(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, password[: LETTERS_MAX + 1])
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[..., Done], *given: str) -> Done:
        if self._waiting >= WAITING_MAX:
            raise ProblemError(503, "Too many log in at once", "Try again in a moment.")
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(work, *given)
        finally:
            self._waiting -= 1
