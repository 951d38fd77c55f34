"""The storage that the settings ask for. What speaks to S3 and B2 is imported only where it is chosen."""

from collections.abc import Callable

import structlog

from orchestrator.clock import Clock
from orchestrator.settings import Settings, SettingsError
from orchestrator.storage.local import LocalStorage
from orchestrator.storage.protocol import Storage, StorageMisconfigured, StorageUnavailable

log = structlog.get_logger()


def storage_of(settings: Settings, origin: Callable[[], str], secret: bytes, clock: Clock) -> Storage:
    """Calls nobody yet. `origin` and `secret` are for URLs that we serve ourselves.

    Raises:
        SettingsError: an endpoint is no URL.
    """
    try:
        return _chosen(settings, origin, secret, clock)
    except ValueError as error:
        raise SettingsError(f"storage {settings.storage}: {error}") from error


async def check_storage(storage: Storage) -> None:
    """A wrong key stops the start. A storage that is out of reach may be back before anybody needs it.

    Raises:
        SettingsError: its key, its bucket or our rights there are wrong.
    """
    try:
        await storage.check()
    except StorageMisconfigured as error:
        raise SettingsError(str(error)) from error
    except StorageUnavailable as error:
        log.warning("storage_unavailable", error=str(error))


def _chosen(settings: Settings, origin: Callable[[], str], secret: bytes, clock: Clock) -> Storage:
    match settings.storage:
        case "local":
            return LocalStorage(settings.data / "storage", origin, secret, clock)
        case "s3":
            return _s3(settings)
        case "b2":
            return _b2(settings)


def _s3(settings: Settings) -> Storage:
    from orchestrator.storage.s3 import S3Storage, origin_of  # noqa: PLC0415
    from orchestrator.storage.s3_calls import S3Account  # noqa: PLC0415

    endpoint = origin_of(settings.minio_endpoint or "", secure=settings.minio_secure)
    public = settings.minio_public_url
    account = S3Account(
        endpoint=endpoint,
        public_url=origin_of(public, secure=settings.minio_secure) if public else endpoint,
        bucket=settings.minio_bucket,
        access_key=settings.minio_access_key or "",
        secret_key=settings.minio_secret_key.get_secret_value() if settings.minio_secret_key else "",
        region=settings.minio_region,
    )
    return S3Storage(account)


def _b2(settings: Settings) -> Storage:
    from orchestrator.storage.b2 import B2Storage  # noqa: PLC0415
    from orchestrator.storage.b2_calls import B2Account  # noqa: PLC0415

    prefix = settings.b2_prefix.strip("/")
    account = B2Account(
        key_id=settings.b2_key_id or "",
        app_key=settings.b2_app_key.get_secret_value() if settings.b2_app_key else "",
        bucket=settings.b2_bucket_name or "",
        prefix=f"{prefix}/" if prefix else "",
        realm=settings.b2_realm,
        s3_url=settings.b2_s3_url,
    )
    return B2Storage(account, settings.data / "spool")
