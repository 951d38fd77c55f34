"""What a row of the authorisation table may say: who calls, whose the object is, and so how the answer begins."""

import re
from dataclasses import dataclass, field
from typing import Any

from orchestrator.keys import ROLES

NO_KEY, WRONG_KEY, WORKER_KEY = "no key", "wrong key", "worker key"
WHO = (NO_KEY, WRONG_KEY, "viewer", "submitter", "operator", "admin", WORKER_KEY)
DONE = 0
"""The call goes through: its row says with which status."""


@dataclass(frozen=True)
class Rule:
    """`least` may call it at all; with what is another's, `others` may; who `sees` that and may not is told 403,
    and everybody else 404. Without `others` there is no object that could be another's.
    """

    least: str
    others: str | None = None
    sees: str | None = None

    def says(self, who: str, *, own: bool) -> int:
        if who not in ROLES:
            return 401
        if not reaches(who, self.least):
            return 403
        if own or self.others is None or reaches(who, self.others):
            return DONE
        return 403 if reaches(who, self.sees) else 404


@dataclass(frozen=True)
class Anybody:
    """`answers` where no key matters, and the call goes through or not by something else that it carries."""

    answers: int = DONE
    others = None

    def says(self, _: str, *, own: bool) -> int:
        return self.answers


@dataclass(frozen=True)
class Workers:
    """A worker's own key opens what is that worker's. No user's key does."""

    others = WORKER_KEY

    def says(self, who: str, *, own: bool) -> int:
        return DONE if who == WORKER_KEY and own else 401


def reaches(role: str, least: str | None) -> bool:
    return least is not None and ROLES.index(role) <= ROLES.index(least)


ANYBODY = Anybody()
SIGNED = Anybody(403)
ABSENT = Anybody(404)
CLOSED = Anybody(403)
HOSTS = STRANGERS = Anybody(401)
"""Proved by something that none of these has: a host's key, a password, a token."""
WORKERS = Workers()
VIEWERS, SUBMITTERS = Rule("viewer"), Rule("submitter")
OPERATORS, ADMINS = Rule("operator"), Rule("admin")
OWN_TO_READ = Rule("viewer", others="operator")
OWN_TO_WRITE = Rule("submitter", others="operator")
OWN_KEYS = Rule("viewer", others="admin")
OWN_PROJECTS = Rule("submitter", others="admin", sees="operator")


@dataclass(frozen=True)
class Row:
    """One route, such as `GET /v1/jobs/{job_id}`, and what a good call of it carries. Texts in braces, in the path
    and elsewhere, are things that the world makes; `at` says which, where the route's own name for it is not clear.
    """

    route: str
    rule: Any
    ok: int | tuple[int, ...] = 200
    at: dict[str, str] = field(default_factory=dict)
    json: Any = None
    data: Any = None
    files: Any = None
    params: Any = None
    headers: Any = None
    content: bytes | None = None

    @property
    def method(self) -> str:
        return self.route.partition(" ")[0]

    @property
    def path(self) -> str:
        """With its braces named after the things that go there."""
        path = re.sub(r":\w+}", "}", self.route.partition(" ")[2])
        for name, thing in self.at.items():
            path = path.replace(f"{{{name}}}", f"{{{thing}}}")
        return path

    def expects(self, who: str, *, own: bool) -> tuple[int, ...]:
        said = self.rule.says(who, own=own)
        if said != DONE:
            return (said,)
        return self.ok if isinstance(self.ok, tuple) else (self.ok,)


def cell(rule: Any, who: str) -> str:
    """In the words of docs/authorisation.md."""
    mine, others = rule.says(who, own=True), rule.says(who, own=False)
    if rule.others is None or mine == others:
        return "yes" if mine == DONE else str(mine)
    return f"own, else {others}"
