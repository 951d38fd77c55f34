"""Who calls, once that is known."""

from dataclasses import dataclass

from orchestrator.keys import ROLES, Role
from orchestrator.store.people import By, User


@dataclass(frozen=True, slots=True)
class Caller:
    """`role` is the weaker of the user's and the key's; `scopes` narrows it, unless empty. `origin` is an address."""

    user: User
    role: Role
    key_id: str | None = None
    scopes: tuple[str, ...] = ()
    origin: str = ""

    @property
    def owner(self) -> str:
        """Whose jobs they are: for fair shares, idempotency, quotas and sight."""
        return self.user.id

    @property
    def who(self) -> str:
        return f"user:{self.user.id}" if self.user.id else "anonymous"

    @property
    def by(self) -> By:
        return By(self.who, self.key_id, self.origin)

    @property
    def sees_all(self) -> bool:
        return self.at_least("operator")

    def at_least(self, role: Role) -> bool:
        return ROLES.index(self.role) <= ROLES.index(role)

    def may(self, scope: str) -> bool:
        return not self.scopes or scope in self.scopes
