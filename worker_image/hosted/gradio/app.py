"""What a Gradio app says of itself in its `/config`: its endpoints, and what each of their inputs may be."""

import re
from dataclasses import dataclass
from typing import Any

from worker_image.faults import HostFault

_PREFIX = re.compile(r"(/[A-Za-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Component:
    """One input of an endpoint: what the app fills in by itself, and what it may be where that is a list."""

    default: Any = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class App:
    """What an app says of itself. `prefix` is before its routes: empty in version 4."""

    prefix: str
    endpoints: dict[str, tuple[Component, ...]]

    def inputs(self, endpoint: str, count: int) -> tuple[Component, ...]:
        """The inputs of an endpoint, of which it must have so many at least."""
        found = self.endpoints.get(endpoint, ())
        if len(found) < count:
            raise HostFault("app_unknown", f"the app has no endpoint {endpoint} with {count} inputs or more")
        return found


def app_of(said: Any) -> App:
    """Reads an app's configuration: its inputs are numbers of components, which have a kind and properties."""
    try:
        components = {one["id"]: _component(one.get("props") or {}) for one in said["components"]}
        endpoints = {
            one["api_name"].strip("/"): tuple(components.get(number, Component()) for number in one["inputs"])
            for one in said["dependencies"]
            if isinstance(one.get("api_name"), str)
        }
        prefix = str(said.get("api_prefix") or "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HostFault("app_unknown", f"its /config is not that of a Gradio app: {error!r}") from error
    if not _PREFIX.fullmatch(prefix):
        raise HostFault("app_unknown", f"its routes begin with {prefix[:100]!r}")
    return App(prefix, endpoints)


def _component(props: dict[str, Any]) -> Component:
    """Choices are values, or pairs of a label and a value."""
    choices = (one[-1] if isinstance(one, list) and one else one for one in props.get("choices") or ())
    return Component(props.get("value"), tuple(one for one in choices if isinstance(one, str)))
