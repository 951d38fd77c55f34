"""`python -m worker_image`: a worker from the environment alone, as a leasing orchestrator starts it.

`--instance DIR` is the folder of the leased instance and becomes the scratch folder; such a worker serves no HTTP of
its own unless a port is set. `--probe` prints what this machine can run, as JSON, and why not the rest. Other
arguments mark the process for whoever started it, and are ignored.
"""

import argparse
import json
import sys
from pathlib import Path

from worker_image.app import main
from worker_image.engines.registry import config_of, probe_all
from worker_image.settings import PORT_OFF, SettingsError, load


def run() -> int:
    parser = argparse.ArgumentParser(prog="worker_image", add_help=False, allow_abbrev=False)
    parser.add_argument("--instance", type=Path)
    parser.add_argument("--probe", action="store_true")
    known, _ = parser.parse_known_args()
    try:
        settings = load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if known.probe:
        offers, reasons = probe_all(config_of(settings))
        print(json.dumps({"offers": [one.model_dump() for one in offers], "reasons": reasons}))  # noqa: T201
        return 0
    if known.instance is not None:
        leased = {"scratch": known.instance, "port": PORT_OFF if settings.port is None else settings.port}
        settings = settings.model_copy(update=leased)
    return main(settings)


sys.exit(run())
