"""The client of Comput3 on an emulated cloud, or on a server that answers what it is told to."""

import json

from rough_server import answer

from provider_clients.base import LaunchSpec
from provider_clients.comput3 import Comput3, Comput3Config, Patience
from provider_clients.http import Limits

KIND = "media:fast"
SPEC = LaunchSpec("w-1", KIND, "http://127.0.0.1:1", "a-key")
QUICK = Patience(
    list_lag_s=0.3, look_every_s=0.05, launch_gap_s=0.0, probe_tries=3, probe_gap_s=0.05, probe_s_max=0.5
)
LIMITS = Limits(connect_s=1.0, read_s=2.0, total_s=3.0, tries=3, pause_s=0.001)
PAGE = answer(502, "<!DOCTYPE html>", "text/html")


class Clock:
    def __init__(self):
        self.now = 1_767_218_000.5

    def __call__(self):
        return self.now


def client(url, key, clock, **changes):
    given = {"node_scheme": "http", "node_delay_s": 0.0, "patience": QUICK, **changes}
    return Comput3(Comput3Config(key, url, **given), clock=clock, limits=LIMITS)


def workload(id_, clock, **changes):
    now = int(clock())
    row = {
        "workload": id_,
        "node": f"{id_}-gpu.example.com",
        "type": KIND,
        "status": "running",
        "running": True,
    }
    return {**row, "created": now, "expires": now + 7200, **changes}


def rows(*listed):
    return answer(200, json.dumps(listed))
