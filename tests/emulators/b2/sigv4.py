"""Whether an S3 request was signed, as a query or a header, by a key that the brain knows. botocore signs it anew."""

import hashlib
import hmac
import time
from calendar import timegm
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.requests import Request

from b2.brain import Brain

SKEW_S_MAX = 900
EXPIRES_S_MAX = 604_800
UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(eq=False)
class S3Fault(Exception):
    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Claim:
    """What a request says of its signature."""

    credential: str
    signed_headers: tuple[str, ...]
    signature: str
    date: str
    payload: str


def signer(brain: Brain, request: Request, content: bytes) -> Any:
    """The key that signed the request. Raises `S3Fault`."""
    by_query = "X-Amz-Signature" in request.query_params
    claim = _of_query(request) if by_query else _of_header(request)
    key_id, _, scope = claim.credential.partition("/")
    key = brain.key_id_to_key.get(key_id)
    if key is None:
        raise S3Fault(403, "InvalidAccessKeyId", "The key id is not known.")
    parts = scope.split("/")
    if len(parts) != 4 or parts[2:] != ["s3", "aws4_request"] or not claim.date.startswith(parts[0]):
        raise S3Fault(400, "AuthorizationQueryParametersError", "The credential is malformed.")
    expected = _signed_anew(claim, request, Credentials(key_id, key.key), parts[1])
    if not hmac.compare_digest(expected, claim.signature):
        raise S3Fault(403, "SignatureDoesNotMatch", "The signature is not the one that was calculated.")
    if claim.payload != UNSIGNED and claim.payload != hashlib.sha256(content).hexdigest():
        raise S3Fault(400, "XAmzContentSHA256Mismatch", "The body is not the one that was signed.")
    return key


def _of_query(request: Request) -> Claim:
    said = request.query_params
    try:
        date, expires_s = said["X-Amz-Date"], int(said["X-Amz-Expires"])
        names = tuple(said["X-Amz-SignedHeaders"].split(";"))
        claim = Claim(said["X-Amz-Credential"], names, said["X-Amz-Signature"], date, UNSIGNED)
    except (KeyError, ValueError) as error:
        raise S3Fault(400, "AuthorizationQueryParametersError", f"Missing or malformed: {error}") from error
    if not 1 <= expires_s <= EXPIRES_S_MAX:
        raise S3Fault(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be 1 to 604800.")
    if _seconds(date) > time.time() + SKEW_S_MAX or _seconds(date) + expires_s < time.time():
        raise S3Fault(403, "AccessDenied", "Request has expired")
    return claim


def _of_header(request: Request) -> Claim:
    kind, _, said = request.headers.get("authorization", "").partition(" ")
    if kind != "AWS4-HMAC-SHA256":
        raise S3Fault(403, "AccessDenied", "Unauthenticated requests are not allowed for this api")
    fields = dict(part.strip().split("=", 1) for part in said.split(","))
    date = request.headers.get("x-amz-date", "")
    if abs(_seconds(date) - time.time()) > SKEW_S_MAX:
        raise S3Fault(403, "RequestTimeTooSkewed", "The clocks differ too much.")
    names = tuple(fields["SignedHeaders"].split(";"))
    payload = request.headers.get("x-amz-content-sha256", UNSIGNED)
    return Claim(fields["Credential"], names, fields["Signature"], date, payload)


def _signed_anew(claim: Claim, request: Request, credentials: Credentials, region: str) -> str:
    raw_path = request.scope["raw_path"].decode()
    query = "&".join(
        part
        for part in request.scope["query_string"].decode().split("&")
        if part and not part.startswith("X-Amz-Signature=")
    )
    # "key=" and "key" are the same to a signature.
    query = "&".join(part if "=" in part else f"{part}=" for part in query.split("&") if part)
    url = f"http://{request.headers['host']}{raw_path}" + (f"?{query}" if query else "")
    anew = AWSRequest(request.method, url)
    for name in claim.signed_headers:
        anew.headers[name] = request.headers.get(name, "")
    if claim.payload != UNSIGNED and "X-Amz-Content-SHA256" not in anew.headers:
        anew.headers["X-Amz-Content-SHA256"] = claim.payload
    anew.context["timestamp"] = claim.date
    auth = S3SigV4QueryAuth(credentials, "s3", region)
    return str(auth.signature(auth.string_to_sign(anew, auth.canonical_request(anew)), anew))


def plain_query(request: Request) -> dict[str, str]:
    """The query without the signature's part."""
    query = request.scope["query_string"].decode()
    pairs = parse_qsl(query, keep_blank_values=True)
    return {unquote(key): value for key, value in pairs if not key.startswith("X-Amz-")}


def _seconds(date: str) -> int:
    try:
        return timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
    except ValueError as error:
        raise S3Fault(403, "AccessDenied", "The date is malformed.") from error
