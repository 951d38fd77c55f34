"""`--set NAME=VALUE`: fields of the policy by their names, and knobs of the named policy by theirs."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gpulease.cli.terminal import fail
from scaling.policies import KNOBS, POLICIES, check_knobs
from scaling.policy import Limits, Policy
from scaling.simulate import Scenario

NESTED = frozenset({"name", "knobs", "limits", "provider_limits", "provider_launch_delay_s", "queue_wait_s"})
FIELDS = tuple(one.name for one in fields(Policy) if one.name not in NESTED)
LIMITS = tuple(f"limits.{one.name}" for one in fields(Limits))


def policy_of(name: str, given: Sequence[str]) -> Policy:
    """The policy of this name with what is set. A name or a value that it does not have ends the program."""
    changes = _known(name, given)
    knobs = {key: value for key, value in changes.items() if key not in FIELDS + LIMITS}
    try:
        check_knobs(name, knobs)
    except ValueError as error:
        fail(str(error), 2)
    limits = {key.removeprefix("limits."): value for key, value in changes.items() if key in LIMITS}
    plain = {key: value for key, value in changes.items() if key in FIELDS}
    return _policy(plain | {"name": name, "knobs": knobs, "limits": limits})


def renamed(name: str, given: Sequence[str]) -> list[tuple[str, Any]]:
    """What is set, by its names in a whole policy: there, knobs have their own place. The values are not looked at."""
    changes = _known(name, given).items()
    return [(key if key in FIELDS + LIMITS else f"knobs.{key}", value) for key, value in changes]


def _known(name: str, given: Sequence[str]) -> dict[str, Any]:
    """What is set, by names that the policy has. Any other ends the program."""
    if name not in POLICIES:
        fail(f"no policy is called {name!r}; there are {', '.join(sorted(POLICIES))}", 2)
    changes = dict(map(_pair, given))
    if unknown := [key for key in changes if key not in (*FIELDS, *LIMITS, *_knob_names(name))]:
        fail(f"--set {unknown[0]}: policy {name!r} has no such setting; it has {_settings(name)}", 2)
    return changes


def bounded(scenario: Scenario, policy: Policy, given: Sequence[str]) -> Scenario:
    """A scenario whose own bounds are those that were set, however they compare with the policy's defaults."""
    keys = {one.partition("=")[0] for one in given}
    if "limits.workers_max" in keys and policy.limits.workers_max is not None:
        scenario = replace(scenario, workers_max=policy.limits.workers_max)
    if "launches_per_step_max" in keys:
        scenario = replace(scenario, launches_per_step_max=policy.launches_per_step_max)
    return scenario


def _pair(one: str) -> tuple[str, Any]:
    name, equals, text = one.partition("=")
    if not name or not equals:
        fail(f"--set {one}: it must be NAME=VALUE", 2)
    try:
        return name, json.loads(text)
    except ValueError:
        return name, None if text.lower() == "none" else text


def _policy(plain: dict[str, Any]) -> Policy:
    try:
        policy = TypeAdapter(Policy).validate_python(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        fail(f"--set {place}={first['input']}: {first['msg']}", 2)
    for name in (*FIELDS, *LIMITS):
        value = _value(policy, name)
        if isinstance(value, int | float) and not 0 <= value < 1e9:
            fail(f"--set {name}={value}: it must be 0 or more", 2)
    return policy


def _value(policy: Policy, name: str) -> object:
    owner: object = policy.limits if name in LIMITS else policy
    return getattr(owner, name.removeprefix("limits."))


def _knob_names(name: str) -> tuple[str, ...]:
    return tuple(one.name for one in KNOBS[name])


def _settings(name: str) -> str:
    return ", ".join((*_knob_names(name), *FIELDS, *LIMITS))
