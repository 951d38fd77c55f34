"""`python -m worker_image`: a worker from the environment alone, as a leasing orchestrator starts it.

`--instance DIR` is the folder of the leased instance and becomes the scratch folder; such a worker serves no HTTP of
its own unless a port is set. Other arguments mark the process for whoever started it, and are ignored.
"""

import argparse
import sys
from pathlib import Path

from worker_image.app import main
from worker_image.settings import PORT_OFF, SettingsError, load


def run() -> int:
    parser = argparse.ArgumentParser(prog="worker_image", add_help=False, allow_abbrev=False)
    parser.add_argument("--instance", type=Path)
    known, _ = parser.parse_known_args()
    try:
        settings = load()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if known.instance is not None:
        leased = {"scratch": known.instance, "port": PORT_OFF if settings.port is None else settings.port}
        settings = settings.model_copy(update=leased)
    return main(settings)


sys.exit(run())
