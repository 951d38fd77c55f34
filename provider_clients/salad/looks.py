"""A read-only look at the account, in words for ops."""

from provider_clients.base import Account
from provider_clients.errors import NotFound, Rejected
from provider_clients.http import ProviderHttp
from provider_clients.salad import replies
from provider_clients.salad.account import SaladAccount
from provider_clients.salad.classes import Classes, GpuClass


async def looked_at(http: ProviderHttp, account: SaladAccount, classes: Classes) -> Account:
    """Raises Rejected where there is no such organisation or project, and what else its calls raise."""
    quotas = await quotas_of(http, account)
    groups = await groups_of(http, account)
    notes = [
        f"{account.organization}/{account.project} has {len(groups)} container groups.",
        await _prices(classes),
    ]
    if unknown := await classes.unknown():
        notes.append(f"Not sold at priority {_named(classes)}: {', '.join(unknown)}.")
    if quotas is None:
        return Account((*notes, "Salad did not say how many replicas are allowed."))
    notes.append(
        f"{quotas.container_replicas_used} of {quotas.container_replicas_quota} replicas are in use."
    )
    return Account(
        tuple(notes),
        workers_max=quotas.container_replicas_quota,
        workers_used=quotas.container_replicas_used,
    )


async def quotas_of(http: ProviderHttp, account: SaladAccount) -> replies.ReplicaQuotas | None:
    try:
        reply = await http.read("GET", f"{account.organization_path}/quotas")
    except NotFound as error:
        raise Rejected(
            f"Salad knows no organisation {account.organization}, or it is not this key's"
        ) from error
    return replies.read_as(replies.Quotas, reply).container_groups_quotas


async def groups_of(http: ProviderHttp, account: SaladAccount) -> tuple[replies.Group, ...]:
    """All groups of the project; a project that is not there has none of them, and is no empty list."""
    try:
        reply = await http.read("GET", account.groups_path)
    except NotFound as error:
        raise Rejected(f"Salad knows no project {account.project} of {account.organization}") from error
    return replies.read_as(replies.Groups, reply).items


async def _prices(classes: Classes) -> str:
    sold = [f"{one.name} {_usd(one)} USD/h" for one in await classes.sold()]
    return f"At priority {_named(classes)} are sold: {', '.join(sold) or 'no GPUs'}."


def _usd(one: GpuClass) -> str:
    """Its prices, each with its priority where there are several."""
    prices = one.tiers()
    return " or ".join(f"{usd} ({priority})" if len(prices) > 1 else f"{usd}" for priority, usd in prices)


def _named(classes: Classes) -> str:
    return " or ".join(classes.priorities)
