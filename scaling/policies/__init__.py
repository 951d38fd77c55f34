"""Policies by name: each says what the queue asks for, given the same scene."""

from collections.abc import Callable, Mapping

from scaling.demand.walk import Demand, Scene
from scaling.policies.fixed import fixed
from scaling.policies.whatif import whatif

DemandPolicy = Callable[[Scene], Demand]
POLICIES: Mapping[str, DemandPolicy] = {"fixed": fixed, "whatif": whatif}
