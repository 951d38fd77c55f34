"""What nobody can do better than, and what somebody who knows the future does: docs/decisions/0022 says what they are."""

from scaling.simulate.offline.bound import work_bound_s
from scaling.simulate.offline.clairvoyant import clairvoyant
from scaling.simulate.offline.schedule import Schedule

__all__ = ["Schedule", "clairvoyant", "work_bound_s"]
