"""The jobs of a chaos run: speech and transcripts of a word or two, some for one provider only, in waves."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
from world import World

PROVIDERS = ("comput3", "salad", "local", "buffer")
WORDS = ("Hello.", "Good morning.", "All clear.", "Well done.", "Thank you.", "See you soon.")
ENDED = frozenset({"succeeded", "failed", "cancelled", "timed_out", "expired"})
ASKED_TWICE = 10
"""Every so many submits are sent again, as a client would whose reply was lost."""


@dataclass
class Load:
    """`wanted` are the providers each job was pinned to, by job id; "any" for none."""

    world: World
    seed: int
    clip: str = ""
    wanted: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed} load")

    def record_clip(self) -> None:
        """What the transcripts are made of: speech from here, uploaded once."""
        job_id = self._submit({"engine": "csm", "input": {"text": "Hello there."}}, "clip")
        done = self.world.up.until_status(job_id, "succeeded", 120)
        (file,) = done["result"]["files"]
        sound = httpx.get(file["url"]).raise_for_status().content
        upload = self.world.post("/v1/uploads", files={"file": ("clip.mp3", sound, "audio/mpeg")})
        self.clip = upload["url"]

    def submit(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            body = self._body(number)
            job_id = self._submit(body, f"chaos-{self.seed}-{number}")
            self.wanted[job_id] = ",".join(body.get("requirements", {}).get("providers", ())) or "any"
            if number % ASKED_TWICE == 0:
                assert self._submit(body, f"chaos-{self.seed}-{number}") == job_id

    def look(self) -> Counter[str]:
        """Statuses of all jobs, ended ones in full."""
        for job_id in self.wanted:
            if job_id not in self.jobs:
                job = self.world.up.job(job_id)
                if job["status"] in ENDED:
                    self.jobs[job_id] = job
        ended = Counter(job["status"] for job in self.jobs.values())
        return ended + Counter(waiting=len(self.wanted) - len(self.jobs))

    def _body(self, number: int) -> dict[str, Any]:
        hears = bool(self.clip) and number % 3 == 2
        asked = {"audio_url": self.clip} if hears else {"text": self._random.choice(WORDS)}
        # Four of six jobs are for one provider; the rest goes where there is room.
        kind = number // 3 % 6
        pinned = {"requirements": {"providers": [PROVIDERS[kind]]}} if kind < len(PROVIDERS) else {}
        return {"engine": "whisper" if hears else "csm", "input": asked, **pinned}

    def _submit(self, body: dict[str, Any], key: str) -> str:
        notify = {"notify_url": self.world.clouds.receiver.url} if key != "clip" else {}
        asked = {"retries": 10, "max_time": 120, **body, **notify}
        job: dict[str, str] = self.world.post("/v1/jobs", json=asked, headers={"Idempotency-Key": key})
        return job["id"]
