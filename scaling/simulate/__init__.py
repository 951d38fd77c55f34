"""A world in virtual time around the production decisions: what would a policy cost, and how long would jobs wait?"""

from scaling.simulate.report import Report
from scaling.simulate.run import simulate
from scaling.simulate.scenario import Scenario
from scaling.simulate.scenario_file import ScenarioError, read_scenario
from scaling.simulate.trace import Arrival, Row, Trace, TraceError, make_trace, read_trace

__all__ = [
    "Arrival",
    "Report",
    "Row",
    "Scenario",
    "ScenarioError",
    "Trace",
    "TraceError",
    "make_trace",
    "read_scenario",
    "read_trace",
    "simulate",
]
