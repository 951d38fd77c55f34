"""Results that no reply could carry: refused where they come from, and where they arrive."""

import pytest
from pydantic import ValidationError

from gpulease.contract.agent import FinishReport
from gpulease.contract.jobs import Result
from worker_image.engines.base import Outcome
from worker_image.execute import Made, Work, within_its_time
from worker_image.faults import HostFault

DEEP: list = []
for _ in range(300):
    DEEP = [DEEP]
UNREADABLE = [
    {"text": "half a pair: \ud800"},
    {"data": {"files": ["\udcff.png"]}},
    {"data": {"\ud800": 1}},
    {"data": {"deep": DEEP}},
]


@pytest.mark.parametrize("number", range(len(UNREADABLE)))
async def test_a_worker_does_not_send_it(number, tmp_path):
    async def make():
        return Made("backend", Outcome(**UNREADABLE[number]))

    work = Work("job", "analyze", None, {}, tmp_path)
    with pytest.raises(HostFault, match="cannot be passed on"):
        await within_its_time(work, make(), "cpu")


@pytest.mark.parametrize("number", range(len(UNREADABLE)))
def test_a_machine_cannot_report_it(number):
    with pytest.raises(ValidationError, match="result"):
        FinishReport(incarnation="incarnation", result=Result(backend="backend", **UNREADABLE[number]))
