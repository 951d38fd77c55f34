"""The keys of a start: those that settings name, replaced when the setting changes, and the first one of all."""

import sys

import structlog

from orchestrator.access.issue import (
    CHOSEN_LETTERS_MIN,
    NewKey,
    create_key,
    find_key,
    revoke_key,
    usable,
)
from orchestrator.access.newcomers import Newcomer, user_of
from orchestrator.keys import Role, hash_key, prefix_of
from orchestrator.settings import Settings, SettingsError
from orchestrator.store.people import ApiKey, User
from orchestrator.store.protocol import Store

ADMIN_SETTING = "GPULEASE_ADMIN_KEY"
RENDER_SETTING = "C3_RENDER_API_KEY"
log = structlog.get_logger()


async def admit(settings: Settings, store: Store, now: float) -> None:
    """What must be before we listen: the settings' keys, and elsewhere than on the loopback, a key that works.

    Where nobody is known yet, the first admin's key is made, and printed on stderr this once, never in the log.

    Raises:
        SettingsError: there is none.
    """
    await ensure_keys(store, settings, now)
    if settings.loopback or await anyone_may_come(store, now):
        return
    alone = f"host {settings.host}: without a key the server binds to 127.0.0.1 only."
    secret = await first_admin_key(store, now)
    if secret is None:
        how = f"gpulease keys create --role admin --data {settings.data}"
        raise SettingsError(f"{alone} Make a key with\n  {how}\nor set {ADMIN_SETTING}.")
    print(f"The first admin key, shown this once: {secret}", file=sys.stderr)  # noqa: T201  Not for the log.
    raise SettingsError(f"{alone} One was made, and is printed above. Keep it, and start again.")


async def ensure_keys(store: Store, settings: Settings, now: float) -> None:
    """A setting that is unset leaves the key that it made; the command line or the API revokes that."""
    if settings.admin_key:
        await _ensure(store, (ADMIN_SETTING, "admin"), settings.admin_key.get_secret_value(), now)
    if settings.c3_render_api_key:
        await _ensure(
            store, (RENDER_SETTING, "submitter"), settings.c3_render_api_key.get_secret_value(), now
        )


async def anyone_may_come(store: Store, now: float) -> bool:
    """Whether there is a key that works."""
    for key in await store.list_keys():
        if usable(key, now) and (user := await store.get_user(key.owner)) and user.active:
            return True
    return False


async def first_admin_key(store: Store, now: float) -> str | None:
    """The secret of an admin's key, where there is no user yet; None where there is."""
    if await store.list_users(limit=1):
        return None
    user = user_of(Newcomer("admin", "admin"), now)
    await store.add_user(user)
    return (await create_key(store, user, NewKey("first"), by=None, now=now)).secret


async def _ensure(store: Store, made_as: tuple[str, Role], secret: str, now: float) -> None:
    setting, role = made_as
    if len(secret) < CHOSEN_LETTERS_MIN:
        log.warning("guessable_key", setting=setting, letters_min=CHOSEN_LETTERS_MIN)
    before = [key for key in await store.list_keys() if _made_from(setting, key)]
    known = await find_key(store, secret)
    for key in before:
        if known is None or key.id != known.id:
            await revoke_key(store, key, by=None, now=now)
    if known is None:
        owner = before[-1].owner if before else await _user(store, setting, role, now)
        await store.add_key(
            ApiKey(
                f"{setting} {hash_key(secret)[:12]}",
                owner,
                setting,
                role,
                prefix_of(secret),
                hash_key(secret),
                now,
            )
        )
    elif not usable(known, now):
        log.warning("key_usable_again", setting=setting, key_id=known.id)
        await store.change_key(known.id, {"revoked_at": None, "expires_at": None}, by=None, now=now)


def _made_from(setting: str, key: ApiKey) -> bool:
    """Anybody may name a key so. The setting's belong to a user of that id or, from before users were, of the key's."""
    return key.name == setting and key.owner in (setting, key.id)


async def _user(store: Store, setting: str, role: Role, now: float) -> str:
    if await store.get_user(setting) is None:
        await store.add_user(User(setting, setting, role, now))
    return setting
