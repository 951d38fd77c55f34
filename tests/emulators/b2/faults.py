"""B2's errors as it says them: an HTTP status, a code, and a message, from the simulator's exceptions."""

from dataclasses import dataclass

from b2sdk.v3 import exception as b2


@dataclass(eq=False)
class Fault(Exception):
    """One refusal, ready to be said."""

    status: int
    code: str
    message: str

    def as_json(self) -> dict[str, int | str]:
        return {"status": self.status, "code": self.code, "message": self.message}


BAD_TOKEN = Fault(401, "bad_auth_token", "The authorization token is not valid")
EXPIRED_TOKEN = Fault(401, "expired_auth_token", "Authorization token has expired")
UNAUTHORIZED = Fault(401, "unauthorized", "Not authorized for that")
NOT_FOUND = Fault(404, "not_found", "No such file")
BUSY = Fault(503, "service_unavailable", "No tomes available")
LIMITED = Fault(429, "too_many_requests", "Too many requests")
STORAGE_FULL = Fault(403, "storage_cap_exceeded", "Cannot upload files, storage cap exceeded.")
TRANSACTIONS_FULL = Fault(403, "transaction_cap_exceeded", "Transaction cap exceeded.")

TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (b2.Unauthorized, 401, "unauthorized"),
    (b2.DuplicateBucketName, 400, "duplicate_bucket_name"),
    (b2.BadJson, 400, "bad_json"),
    (b2.NonExistentBucket, 400, "bad_bucket_id"),
    (b2.FileNotPresent, 404, "not_found"),
    (b2.PartSha1Mismatch, 400, "bad_request"),
    (b2.FileSha1Mismatch, 400, "bad_request"),
    (b2.ChecksumMismatch, 400, "part_sha1_mismatch"),
    (b2.MissingPart, 400, "missing_part"),
    (b2.AccessDenied, 403, "access_denied"),
    (b2.Conflict, 409, "conflict"),
    (b2.UnsatisfiableRange, 416, "range_not_satisfiable"),
    (b2.B2Error, 400, "bad_request"),
    (KeyError, 400, "bad_request"),
    (AssertionError, 400, "bad_request"),
    (TypeError, 400, "bad_request"),
    (ValueError, 400, "bad_request"),
)


def fault_of(error: Exception) -> Fault | None:
    """What B2 would say; None where the simulator itself broke."""
    if isinstance(error, Fault):
        return error
    for kind, status, code in TABLE:
        if isinstance(error, kind):
            return Fault(status, code, str(error) or code)
    return None
