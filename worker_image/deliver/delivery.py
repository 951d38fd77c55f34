"""All of an owner's destinations at once: what is configured, and what becomes of a result."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

from gpulease.contract.agent import UploadGrant
from worker_image.deliver.content import Content
from worker_image.deliver.destination import Destination, Facts, Stored, steadily
from worker_image.deliver.names import result_names
from worker_image.engines.base import MadeFile, Outcome
from worker_image.faults import HostFault
from worker_image.settings import BucketSettings

PATIENCE_S = 120.0
"""How long a bucket may be out of reach before a job fails that the engine has done."""

Put = Callable[[MadeFile], Awaitable[None]]


Delivered = tuple[Content, tuple[Stored, ...]]
"""One file of a result, and all the places that it was stored at."""


class Delivery:
    """Without destinations and folder it brings nothing anywhere."""

    def __init__(
        self,
        destinations: tuple[Destination, ...] = (),
        output_dir: Path | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.destinations = destinations
        self._output_dir = output_dir
        self._patience_s = patience_s

    @property
    def stores(self) -> bool:
        """Whether results are stored anywhere else than on this machine."""
        return bool(self.destinations)

    async def deliver(self, outcome: Outcome, facts: Facts) -> tuple[Delivered, ...]:
        """Brings every file of an outcome to every destination. What is kept here too, is kept first.

        Raises:
            HostFault: a destination was out of reach all the time, or does not take it.
        """
        names = result_names(facts.job_id, [made.name for made in outcome.files])
        named = dict(zip(names, outcome.files, strict=True))
        if self._output_dir is not None:
            await asyncio.to_thread(_keep, self._output_dir, named, facts.job_id, outcome.text)
        return tuple([await self._bring(made, name, facts) for name, made in named.items()])

    async def _bring(self, made: MadeFile, name: str, facts: Facts) -> Delivered:
        content = await Content.of(made)
        stored = [await self._store(one, content, one.key_of(name), facts) for one in self.destinations]
        return content, tuple(stored)

    async def _store(self, to: Destination, content: Content, key: str, facts: Facts | None) -> Stored:
        return await steadily(lambda: to.store(content, key, facts), for_s=self._patience_s)

    def direct_for(self, grant: UploadGrant) -> Put | None:
        """How to store at the grant's key with the owner's own keys; None where its bucket is not the owner's."""
        named = grant.bucket
        to = next((one for one in self.destinations if one.bucket == named and one.is_behind(grant)), None)
        if to is None:
            return None

        async def put(made: MadeFile) -> None:
            await self._store(to, await Content.of(made), grant.object_name or grant.key, None)

        return put


def delivery_of(settings: BucketSettings) -> Delivery:
    """What the settings ask for, which were checked to be whole. The SDKs are loaded only where they are needed."""
    found: list[Destination] = []
    if settings.b2_key_id and settings.b2_app_key and settings.b2_bucket_name:
        from worker_image.deliver.b2 import B2Bucket  # noqa: PLC0415  As above.

        key = (settings.b2_key_id, settings.b2_app_key.get_secret_value())
        bucket = settings.b2_bucket_name
        found.append(B2Bucket(key, bucket, prefix=settings.b2_prefix, realm=settings.b2_realm))
    if settings.minio_endpoint and settings.minio_bucket and settings.minio_access_key:
        found.append(_minio(settings, settings.minio_endpoint, settings.minio_bucket))
    return Delivery(tuple(found), settings.output_dir)


def _minio(settings: BucketSettings, endpoint: str, bucket: str) -> Destination:
    from worker_image.deliver.s3 import S3Bucket  # noqa: PLC0415  As above.

    secret = settings.minio_secret_key.get_secret_value() if settings.minio_secret_key else ""
    scheme = "https" if settings.minio_secure else "http"
    url = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    public_url, region = settings.minio_public_url or url, settings.minio_region
    key = (settings.minio_access_key or "", secret)
    return S3Bucket(key, bucket, endpoint=url, public_url=public_url, region=region)


def _keep(folder: Path, named: dict[str, MadeFile], job_id: str, text: str | None) -> None:
    """Copies into the folder; each appears whole under its name, or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, made in named.items():
            _appear(folder / name, partial(shutil.copyfile, made.path))
        if text is not None and f"{job_id}.txt" not in named:
            _appear(folder / f"{job_id}.txt", lambda target: target.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise HostFault("output_dir", f"OUTPUT_DIR cannot be written: {error}") from error


def _appear(path: Path, write: Callable[[Path], object]) -> None:
    unfinished = path.with_name(f".{uuid4().hex}.part")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
