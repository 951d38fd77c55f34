"""Scenarios by name, or from a JSON file whose every fault is told with its place."""

import json
import math
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, TypeVar

from scaling.simulate.scenario import BUILT_IN, GPU, Boot, GpuClass, Scenario, Terms, Turns
from scaling.snapshot import Estimate

Made = TypeVar("Made", Boot, Estimate, GpuClass, Terms, Turns, Scenario)
POSITIVE = frozenset({"median_s", "p95_s", "service_factor", "period_s", "loss_mean_s", "lease_s_max"})
COUNTS = frozenset({"count_max", "workers_max", "launches_per_step_max"})
WORDS = frozenset({"name", "provider", "gpu_class"})
FLAGS = frozenset({"boot_billed"})


class ScenarioError(Exception):
    """A scenario that cannot be read. It names the file and the field."""


def read_scenario(name_or_path: Path | str) -> Scenario:
    """Raises:
    ScenarioError: neither a built-in name nor a file that can be read.
    """
    if (built_in := BUILT_IN.get(str(name_or_path))) is not None:
        return built_in
    try:
        text = Path(name_or_path).read_text(encoding="utf-8")
    except OSError as error:
        names = ", ".join(BUILT_IN)
        raise ScenarioError(f"{name_or_path}: {error.strerror}; give a file, or one of {names}") from None
    except UnicodeDecodeError:
        raise ScenarioError(f"{name_or_path}: no text in UTF-8") from None
    try:
        return _scenario(json.loads(text), str(name_or_path))
    except (ValueError, RecursionError) as error:
        raise ScenarioError(f"{name_or_path}: no JSON: {error}") from None


def _scenario(raw: object, where: str) -> Scenario:
    given = _object(raw, where)
    classes = _object(given.get("gpu_classes", {GPU: {}}), f"{where}: gpu_classes")
    offers = given.get("offers")
    if not isinstance(offers, list) or not offers:
        raise ScenarioError(f"{where}: offers: there must be a list of at least one")
    parts = {
        "name": given.get("name", Path(where.split(": ", maxsplit=1)[0]).stem),
        "gpu_classes": {
            name: _record(GpuClass, one, f"{where}: gpu_classes.{name}") for name, one in classes.items()
        },
        "loop": _record(Turns, given.get("loop", {}), f"{where}: loop"),
        "offers": tuple(_terms(one, f"{where}: offers[{number}]") for number, one in enumerate(offers)),
    }
    scenario = _record(Scenario, given | parts, where)
    _check_kinds(scenario, where)
    return scenario


def _terms(raw: object, where: str) -> Terms:
    given = _object(raw, where)
    boot = _record(Boot, given.get("boot", {}), f"{where}.boot")
    if boot.p95_s < boot.median_s:
        raise ScenarioError(f"{where}.boot.p95_s: {boot.p95_s:g} is less than the median")
    prior = given.get("boot_prior")
    told = None if prior is None else _record(Estimate, prior, f"{where}.boot_prior")
    terms = _record(Terms, given | {"boot": boot, "boot_prior": told}, where)
    if terms.fail_p >= 1:
        raise ScenarioError(f"{where}.fail_p: {terms.fail_p:g} must be below 1")
    return terms


def _check_kinds(scenario: Scenario, where: str) -> None:
    seen: dict[tuple[str, str], list[Terms]] = {}
    for number, one in enumerate(scenario.offers):
        place, kind = f"{where}: offers[{number}]", (one.provider, one.gpu_class)
        if one.gpu_class not in scenario.gpu_classes:
            known = ", ".join(scenario.gpu_classes)
            raise ScenarioError(f"{place}.gpu_class: {one.gpu_class!r} is none of {known}")
        for other in seen.setdefault(kind, []):
            if other.usd_per_hour == one.usd_per_hour:
                raise ScenarioError(f"{place}: a second offer of {'/'.join(kind)} at the same price")
            if (other.boot, other.boot_prior) != (one.boot, one.boot_prior):
                raise ScenarioError(f"{place}.boot: those of {'/'.join(kind)} boot alike, whatever they cost")
        seen[kind].append(one)


def _object(raw: object, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ScenarioError(f"{where}: must be an object")
    return raw


def _record(kind: type[Made], raw: object, where: str) -> Made:
    """A record of this kind from an object whose nested records are made already."""
    given = _object(raw, where)
    known = {one.name: one for one in fields(kind)}
    if unknown := sorted(given.keys() - known.keys()):
        raise ScenarioError(f"{where}: unknown field {', '.join(unknown)}; there are {', '.join(known)}")
    if missing := [one.name for one in known.values() if _required(one) and one.name not in given]:
        raise ScenarioError(f"{where}: no {', '.join(missing)}")
    values: dict[str, Any] = {name: _value(known[name], value, where) for name, value in given.items()}
    return kind(**values)


def _required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _value(one: Field[Any], value: object, where: str) -> object:
    place = f"{where}.{one.name}" if ": " in where else f"{where}: {one.name}"
    if isinstance(value, Boot | Estimate | Turns | tuple) or one.name == "gpu_classes":
        return value
    if one.name in WORDS:
        if not isinstance(value, str) or not value:
            raise ScenarioError(f"{place}: must be a name")
        return value
    if one.name in FLAGS:
        if not isinstance(value, bool):
            raise ScenarioError(f"{place}: must be true or false")
        return value
    if value is None and one.default is None:
        return None
    return _number(one.name, value, place)


def _number(name: str, value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ScenarioError(f"{place}: must be a number")
    if value < 0 or (value == 0 and name in POSITIVE):
        raise ScenarioError(f"{place}: {value:g} must be {'above 0' if name in POSITIVE else 'at least 0'}")
    if name in COUNTS and value != int(value):
        raise ScenarioError(f"{place}: {value:g} must be a whole number")
    return value
