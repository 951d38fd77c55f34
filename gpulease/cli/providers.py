"""`gpulease providers`: who is leased from, whether each can be asked, and a switch for each."""

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpulease.cli.server import needs
from gpulease.cli.terminal import AsJson, client_of, err, fail, out, show_json, show_table, usd

if TYPE_CHECKING:
    from orchestrator.fleet.clouds.accounts import Registry
    from provider_clients.base import Account, Provider

app = typer.Typer(help="Shows, checks and switches the providers that machines are leased from.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as comput3, salad, buffer, static, local.")]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one provider found, as one sentence or two."""

    name: str
    configured: bool
    ok: bool
    detail: str


@app.callback(invoke_without_command=True)
def providers(context: typer.Context, as_json: AsJson = False) -> None:
    """Lists the providers: what each sells, what is leased from it, and what is wrong."""
    if context.invoked_subcommand:
        return
    with client_of(context) as client:
        found = client.providers()
    if as_json:
        show_json(found)
        return
    columns = ("provider", "state", "offers", "workers", "cost now", "what is wrong")
    show_table(columns, (_row(item) for item in found), empty="No providers.")


def _row(item: dict[str, Any]) -> list[object]:
    state = "not configured" if not item["configured"] else "on" if item["enabled"] else "off"
    return [
        item["name"],
        state,
        ", ".join(_offer(one) for one in item["offers"]),
        item["workers"],
        f"{usd(item['usd_per_hour'])}/h",
        "; ".join(_troubles(item)),
    ]


def _offer(offer: dict[str, Any]) -> str:
    cooled_s = offer.get("cooled_s") or 0
    sold_out = f" (sold out, again in {cooled_s:.0f} s)" if cooled_s > 0 else ""
    return f"{offer['gpu_class']} {usd(offer['usd_per_hour'])}/h{sold_out}"


def _troubles(item: dict[str, Any]) -> Iterable[str]:
    if item.get("missing"):
        yield f"set {', '.join(item['missing'])}"
    if item.get("fault"):
        yield item["fault"]
    if strangers := item.get("strangers"):
        yield f"not ours, and left alone: {', '.join(map(str, strangers))}"


@app.command()
def enable(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Leases from this provider again."""
    _switch(context, name, "enable", as_json)


@app.command()
def disable(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Leases nothing more from this provider; what is leased goes on until it idles out or is stopped."""
    _switch(context, name, "disable", as_json)


def _switch(context: typer.Context, name: str, verb: str, as_json: bool) -> None:
    with client_of(context) as client:
        item = client.enable_provider(name) if verb == "enable" else client.disable_provider(name)
    if as_json:
        show_json(item)
    else:
        err.print(f"Provider {name} is {'on' if item['enabled'] else 'off'}.", markup=False)


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them; else all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Asks the providers' own APIs, read-only, with the settings of this folder; no server is needed.

    Status 1 if a configured one is not well, or the named one is not configured.
    """
    with needs("server"):
        from orchestrator.settings import SettingsError
    try:
        with _quiet():
            findings = asyncio.run(_look(name))
    except SettingsError as error:
        fail(f"the settings cannot work so:\n{error}", 2)
    if as_json:
        show_json([asdict(one) for one in findings])
    else:
        for one in findings:
            out.print(f"{one.name}: {one.detail}", markup=False)
    failed = any(not one.ok and (one.configured or one.name == name) for one in findings)
    raise typer.Exit(1 if failed else 0)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the server would log is no part of the answer, unless it is an error."""
    import structlog

    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


async def _look(name: str | None) -> list[Finding]:
    from orchestrator.fleet.clouds.accounts import LACKS, registry_of
    from orchestrator.settings import load

    if name is not None and name not in LACKS:
        fail(f"there is no provider {name!r}; there are {', '.join(LACKS)}", 2)
    settings = load()
    wanted = settings if name is None else settings.model_copy(update={"providers": (name,)})
    registry = await registry_of(wanted)
    try:
        return await _findings(registry)
    finally:
        await registry.aclose()


async def _findings(registry: "Registry") -> list[Finding]:
    found = await asyncio.gather(*(_finding(name, one) for name, one in registry.clients.items()))
    lacking = [
        Finding(name, configured=False, ok=False, detail=f"not configured; set {', '.join(names)}")
        for name, names in registry.missing.items()
    ]
    return [*found, *lacking]


async def _finding(name: str, client: "Provider") -> Finding:
    from provider_clients.errors import ProviderError

    try:
        account = await client.check()
    except ProviderError as error:
        return Finding(name, configured=True, ok=False, detail=_what_is_wrong(name, error))
    return Finding(name, configured=True, ok=True, detail=_what_is_well(name, account))


def _what_is_well(name: str, account: "Account") -> str:
    if name == "buffer":  # Only a server hears its machines, and this is none.
        return "ok. Owners' machines come by themselves; `gpulease workers` lists them."
    return " ".join(["ok.", *account.notes])


def _what_is_wrong(name: str, error: Exception) -> str:
    from orchestrator.fleet.clouds.accounts import LACKS
    from provider_clients.errors import BadCredentials, RateLimited

    said = " ".join(str(error).split())
    match error:
        case BadCredentials():
            return f"the key was refused, so set {next(iter(LACKS[name].values()), 'its key')}. {said}"
        case RateLimited():
            return f"too many calls, so try again in {error.retry_after_s:.0f} s. {said}"
        case _:
            return said
