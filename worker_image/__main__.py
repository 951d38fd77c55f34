"""`python -m worker_image`: a worker from the environment alone, as a leasing orchestrator starts it.

`--instance DIR` is the folder of the leased instance: the scratch folder, unless `GPULEASE_SCRATCH` names another.
Such a worker serves no HTTP of its own unless a port is set. `--probe` only prints what the machine is, what would be
offered, and why the rest would not, as JSON. `--host NAME` runs agents for the machines of one provider instead
(`worker_image.hosted`). Other arguments mark the process for whoever started it, and are ignored.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from worker_image.app import main
from worker_image.engines.registry import config_of, probe_all
from worker_image.machine.fitness import Subject, examine
from worker_image.machine.gpu import find_gpu
from worker_image.settings import PORT_OFF, Settings, SettingsError, load, visible_devices


def run() -> int:
    parser = argparse.ArgumentParser(prog="worker_image", add_help=False, allow_abbrev=False)
    parser.add_argument("--instance", type=Path)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--host")
    known, _ = parser.parse_known_args()
    if known.host is not None:
        return _host(known.host)
    try:
        settings = load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if known.probe:
        return _probe(settings)
    return main(settings if known.instance is None else _leased(settings, known.instance))


def _leased(settings: Settings, folder: Path) -> Settings:
    given = settings.model_fields_set
    unset: dict[str, Any] = {"scratch": folder, "port": PORT_OFF}
    return settings.model_copy(update={name: value for name, value in unset.items() if name not in given})


def _host(name: str) -> int:
    from worker_image.hosted.app import main as host  # noqa: PLC0415  A worker needs none of it.
    from worker_image.hosted.settings import HOSTS, load_host  # noqa: PLC0415  As above.

    found = next((one for one in HOSTS if one == name), None)
    if found is None:
        sys.stderr.write(f"--host {name}: there is {', '.join(HOSTS)}\n")
        return 2
    try:
        return host(found, load_host(found))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _probe(settings: Settings) -> int:
    """What the machine is, what would be offered, and why the rest would not."""
    gpu = find_gpu(visible_devices())
    offers, reasons = probe_all(config_of(settings))
    subject = Subject(gpu, settings.device, _scratch(settings), frozenset(one.engine for one in offers))
    found = {
        "offers": [offer.model_dump(mode="json") for offer in offers],
        "reasons": reasons,
        "gpu": {"reason": gpu} if isinstance(gpu, str) else gpu.as_json(),
        "fitness": [asdict(one) for one in examine(subject)],
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _scratch(settings: Settings) -> Path:
    settings.scratch.mkdir(parents=True, exist_ok=True)
    return settings.scratch


if __name__ == "__main__":
    sys.exit(run())
