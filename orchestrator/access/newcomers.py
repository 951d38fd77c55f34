"""New users: what an email, a name and a password must be, and who may bring whom."""

import re
from dataclasses import dataclass, replace
from uuid import uuid4

from gpulease.contract.problems import FieldFault, ProblemError, invalid
from orchestrator.access.passwords import Passwords, check_password
from orchestrator.keys import Role
from orchestrator.store.errors import Duplicate
from orchestrator.store.people import By, User
from orchestrator.store.protocol import Store

EMAIL_LETTERS_MAX = 254
NAME_LETTERS_MAX = 100
_EMAIL = re.compile(r"[^\s@,;<>\"]+@[^\s@,;<>\"]+")


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Without an email they are a program; without a password they use keys only. No name: the email's."""

    name: str = ""
    role: Role = "submitter"
    email: str | None = None
    password: str | None = None
    subscription_id: int = 1


def read_email(email: str, field: str = "email") -> str:
    """As it is stored, in lower case.

    Raises:
        ProblemError: 422.
    """
    plain = email.strip().lower()
    if len(plain) > EMAIL_LETTERS_MAX or not _EMAIL.fullmatch(plain):
        raise invalid([FieldFault(field=field, message="it is no email address")])
    return plain


def user_of(newcomer: Newcomer, now: float) -> User:
    """Checked, and not stored yet.

    Raises:
        ProblemError: 422.
    """
    email = read_email(newcomer.email) if newcomer.email is not None else None
    name = newcomer.name.strip() or (email or "").partition("@")[0]
    if not 1 <= len(name) <= NAME_LETTERS_MAX:
        message = f"it needs 1 to {NAME_LETTERS_MAX} letters"
        raise invalid([FieldFault(field="name", message=message)])
    return User(str(uuid4()), name, newcomer.role, now, email, newcomer.subscription_id)


async def add_newcomer(
    store: Store, passwords: Passwords, newcomer: Newcomer, *, by: By | None, now: float
) -> User:
    """Checks and stores them.

    Raises:
        ProblemError: 422 for wrong fields, 409 for an email that somebody has.
    """
    user = user_of(newcomer, now)
    if newcomer.password is not None:
        check_password(newcomer.password)
        user = replace(user, password_hash=await passwords.hash(newcomer.password))
    try:
        await store.add_user(user, by=by)
    except Duplicate:
        raise _taken(user.email) from None
    return user


def _taken(email: str | None) -> ProblemError:
    detail = f"There is a user with the email {email} already."
    return ProblemError(409, "This email is taken", detail, type="/problems/conflict")
