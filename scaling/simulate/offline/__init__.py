"""Two measures beside a run: the least work there is, and a schedule by somebody who knows the future."""

from scaling.simulate.offline.bound import work_bound_s
from scaling.simulate.offline.clairvoyant import clairvoyant
from scaling.simulate.offline.schedule import Schedule

__all__ = ["Schedule", "clairvoyant", "work_bound_s"]
