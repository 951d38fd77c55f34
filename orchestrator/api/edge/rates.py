"""A bound on how often a user asks. Workers have no user, and health needs nobody."""

from orchestrator.access.callers import Caller
from orchestrator.access.rates import Rates
from orchestrator.access.sessions import too_many


async def check_rate(rates: Rates, caller: Caller) -> None:
    """Counts the request for its user; whoever needs no key on the loopback is not counted.

    Raises:
        ProblemError: 429, with how long to wait.
    """
    wait_s = await rates.wait_s(caller.user) if caller.user.id else 0.0
    if wait_s > 0:
        raise too_many(wait_s, "You ask more often than your subscription allows.")
