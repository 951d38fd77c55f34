"""Breaks the program in four ways, one by one, in a copy of it, and shows which named test says so.

Each mutant is a mistake that this field has made: no orphan sweep, a delete that is asked once, machines on order
forgotten, the attempt guard dropped. Run: `python tests/mutants/run.py`. It ends with 1 if a mutant lives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEST_S_MAX = 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """`before` occurs once in `path`, and becomes `after`; then `test` must fail."""

    title: str
    path: str
    before: str
    after: str
    test: str


MUTANTS = (
    Mutant(
        "no orphan sweep",
        "orchestrator/fleet/clouds/inventory.py",
        "await self.orphans.sweep(provider, found.orphans, UNKNOWN_LOOKS * self.period_s)",
        "pass",
        "tests/orchestrator/test_leasing.py::test_an_orphan_is_deleted_after_its_grace_and_is_in_the_ledger",
    ),
    Mutant(
        "delete asked once",
        "orchestrator/fleet/clouds/leases.py",
        "            await asyncio.sleep(wait_s)\n            wait_s = min(RETRY_S_MAX, wait_s * 2)",
        "            return",
        "tests/orchestrator/test_leasing.py::test_delete_is_repeated_until_the_provider_says_not_found",
    ),
    Mutant(
        "machines on order forgotten",
        "scaling/health.py",
        "return state is WorkerState.INTENDED or state is WorkerState.STARTING",
        "return False",
        "tests/scaling/test_whatif.py::test_machines_on_order_are_supply_in_every_state",
    ),
    Mutant(
        "attempt guard dropped",
        "orchestrator/store/sqlite/attempts.py",
        "return self.attempt.worker_id == held.worker_id and self.attempt.incarnation == held.incarnation",
        "return True",
        "tests/contract/test_store_attempts.py::test_a_report_of_somebody_else_is_stale",
    ),
)


def main() -> int:
    alive = 0
    with tempfile.TemporaryDirectory(prefix="gpulease-mutants-") as name:
        copy = Path(name)
        _copy_tree(copy)
        for mutant in MUTANTS:
            alive += not _killed(copy, mutant)
    print(f"{len(MUTANTS) - alive} of {len(MUTANTS)} mutants were killed")
    return 1 if alive else 0


def _copy_tree(copy: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def _killed(copy: Path, mutant: Mutant) -> bool:
    """Whether the test passes on the program as it is, and fails on the mutant."""
    path = copy / mutant.path
    whole = path.read_text()
    if whole.count(mutant.before) != 1:
        print(f"{mutant.title}: the text to change is not once in {mutant.path}; mend this script")
        return False
    if _test(copy, mutant.test) != 0:
        print(f"{mutant.title}: {mutant.test} fails without it")
        return False
    path.write_text(whole.replace(mutant.before, mutant.after))
    try:
        killed = _test(copy, mutant.test) == 1
    finally:
        path.write_text(whole)
    print(f"{mutant.title}: {'killed by' if killed else 'LIVES in spite of'} {mutant.test}", flush=True)
    return killed


def _test(copy: Path, test: str) -> int:
    """The exit status of pytest: 0 passed, 1 failed."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=TEST_S_MAX,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
