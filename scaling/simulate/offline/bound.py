"""The work bound: what has to be paid however machines are started, kept and shared."""

import math

from scaling.simulate.scenario import Scenario
from scaling.simulate.trace import Trace


def work_bound_s(trace: Trace, scenario: Scenario) -> float:
    """Seconds of a machine: every job's service, and every model in memory once.

    No schedule is billed for less. A machine runs one job at a time and a lease is paid while it does; the first job
    of a model finds it nowhere, and its load is such time too. Of several GPU classes the fastest counts for both.
    """
    gpus = [scenario.gpu_classes[one.gpu_class] for one in scenario.offers]
    factor, load_s = min(one.service_factor for one in gpus), min(one.load_s for one in gpus)
    models = {(one.need.engine, one.model) for one in trace.arrivals}
    return math.fsum(one.service_s * factor for one in trace.arrivals) + load_s * len(models)
