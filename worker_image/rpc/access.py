"""Who may call this worker's gRPC, by which certificates, and how it refuses: a status and a sentence."""

import secrets
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc

from worker_image.settings import Settings

KEY_NAME = "x-internal-api-key"
_LOOPBACK_NAMES = ("localhost", "")


class Refused(Exception):
    """A call that is not served: gRPC's status code, and what is wrong with it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(field: str, why: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{field}: {why}")


@dataclass(frozen=True, slots=True)
class Door:
    """`key` is asked of callers from other machines, unless their certificates were (`certified`)."""

    key: str | None
    certified: bool = False

    def admit(self, context: Any) -> None:
        """Raises: Refused."""
        if self.certified or is_loopback(_host_of(context.peer())):
            return
        given = str(dict(context.invocation_metadata() or ()).get(KEY_NAME, ""))
        if self.key is None or not secrets.compare_digest(given.encode(), self.key.encode()):
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, f"Send the worker's key as metadata {KEY_NAME}.")


def is_loopback(host: str) -> bool:
    """Where we listen on IPv6, an IPv4 address comes inside an IPv6 one."""
    if host in _LOOPBACK_NAMES:
        return bool(host)
    try:
        address = ip_address(host)
    except ValueError:
        return False
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (inner or address).is_loopback


def _host_of(peer: str) -> str:
    """`ipv4:127.0.0.1:5` and `ipv6:%5B::1%5D:5` without what is around the address."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")


def credentials_of(settings: Settings) -> grpc.ServerCredentials | None:
    """None: without TLS.

    Raises:
        ValueError: half of a certificate, or a file that cannot be read.
    """
    cert, key, ca = settings.grpc_tls_cert, settings.grpc_tls_key, settings.grpc_tls_ca
    if cert is None and key is None and ca is None:
        return None
    if cert is None or key is None:
        raise ValueError(
            "GPULEASE_GRPC_TLS_CERT and GPULEASE_GRPC_TLS_KEY belong together, and CA needs both"
        )
    pair = (_read(key), _read(cert))
    authority = _read(ca) if ca else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=ca is not None)


def why_not_open(settings: Settings) -> str | None:
    """Why it must not listen for other machines like this."""
    if is_loopback(settings.host) or settings.grpc_tls_ca is not None or settings.worker_key is not None:
        return None
    return (
        f"{settings.host} is open to other machines: set GPULEASE_GRPC_TLS_CERT, _KEY and _CA, "
        "or a worker's key (GPULEASE_WORKER_KEY), or listen on 127.0.0.1"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
