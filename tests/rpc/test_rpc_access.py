"""Who may call: certificates made here, keys, and what must not be open to other machines."""

import shutil
import socket
import subprocess
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr
from rpc_world import running

from gpulease.contract import video_generator_pb2 as wire
from worker_image.engines.video.target import KEY_NAME, Line, Target
from worker_image.rpc.access import Door, Refused, credentials_of, is_loopback, why_not_open
from worker_image.settings import Settings

pytestmark = pytest.mark.slow

JOB = wire.GetJobRequest(job_id="job-1")
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the program openssl is not installed"
)


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, timeout=60, capture_output=True)


def certificate(folder: Path, name: str, authority: str | None) -> None:
    """`name`.pem and `name`.key for localhost, signed by `authority`, or one itself."""
    key, path = str(folder / f"{name}.key"), str(folder / f"{name}.pem")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    if authority is None:
        openssl(*new, *subject, "-x509", "-days", "2", "-out", path)
        return
    asked = str(folder / f"{name}.csr")
    openssl(*new, *subject, "-out", asked)
    signer = ("-CA", str(folder / f"{authority}.pem"), "-CAkey", str(folder / f"{authority}.key"))
    openssl(
        "x509", "-req", "-in", asked, *signer, "-CAcreateserial", "-copy_extensions", "copy", "-out", path
    )


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    for name, authority in (("ca", None), ("server", "ca"), ("client", "ca"), ("stranger", None)):
        certificate(folder, name, authority)
    return folder


def tls(pki, *, mutual):
    own = {"grpc_tls_cert": pki / "server.pem", "grpc_tls_key": pki / "server.key"}
    return own | ({"grpc_tls_ca": pki / "ca.pem"} if mutual else {})


async def code_of(port, **target):
    async with Line(Target(f"grpcs://127.0.0.1:{port}", **target)) as line:
        try:
            await line.generator.GetJob(JOB, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return None


@needs_openssl
async def test_tls_shows_the_workers_certificate(tmp_path, pki):
    async with running(tmp_path, **tls(pki, mutual=False)) as serving:
        assert await code_of(serving.port, ca=str(pki / "ca.pem")) is None
        assert await code_of(serving.port, ca=str(pki / "stranger.pem")) is grpc.StatusCode.UNAVAILABLE
        plain = grpc.aio.insecure_channel(f"127.0.0.1:{serving.port}")
        async with plain:
            with pytest.raises(grpc.aio.AioRpcError):
                await plain.unary_unary("/video.Generator/GetJob")(b"", timeout=5)


@needs_openssl
async def test_mutual_tls_wants_the_callers_too(tmp_path, pki):
    ca = str(pki / "ca.pem")
    async with running(tmp_path, **tls(pki, mutual=True)) as serving:
        own = {"cert": str(pki / "client.pem"), "key": str(pki / "client.key")}
        other = {"cert": str(pki / "stranger.pem"), "key": str(pki / "stranger.key")}
        assert await code_of(serving.port, ca=ca, **own) is None
        assert await code_of(serving.port, ca=ca) is grpc.StatusCode.UNAVAILABLE
        assert await code_of(serving.port, ca=ca, **other) is grpc.StatusCode.UNAVAILABLE


@needs_openssl
def test_half_a_certificate_or_one_that_cannot_be_read_stops_the_start(pki, tmp_path):
    whole = tls(pki, mutual=True)
    assert credentials_of(Settings(**whole)) is not None
    for missing in ("grpc_tls_cert", "grpc_tls_key"):
        with pytest.raises(ValueError, match="belong together"):
            credentials_of(Settings(**{name: path for name, path in whole.items() if name != missing}))
    with pytest.raises(ValueError, match="No such file"):
        credentials_of(Settings(**whole | {"grpc_tls_key": tmp_path / "none"}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "worker.example.com", ""])
def test_it_is_not_open_to_other_machines_without_a_key_or_certificates(host):
    assert "GPULEASE_GRPC_TLS_CERT" in why_not_open(Settings(host=host))
    assert why_not_open(Settings(host=host, grpc_tls_cert="c", grpc_tls_key="k"))
    assert why_not_open(Settings(host=host, worker_key="a-key")) is None
    assert why_not_open(Settings(host=host, grpc_tls_ca="ca")) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_on_loopback_it_is(host):
    assert why_not_open(Settings(host=host)) is None
    assert is_loopback(host)


class Caller:
    """What gRPC tells of a caller."""

    def __init__(self, peer, **metadata):
        self._peer, self._metadata = peer, tuple(metadata.items())

    def peer(self):
        return self._peer

    def invocation_metadata(self):
        return self._metadata


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:5000", "ipv6:%5B::1%5D:5000", "ipv6:[::ffff:127.0.0.1]:5"])
def test_callers_of_this_machine_need_no_key(peer):
    Door(None).admit(Caller(peer))
    Door("a-key").admit(Caller(peer))


@pytest.mark.parametrize(
    "peer", ["ipv4:10.0.0.5:5000", "ipv6:%5B2001:db8::1%5D:5000", "unknown", "unix:/tmp/x"]
)
def test_others_need_the_key_or_a_certificate(peer):
    Door("a-key").admit(Caller(peer, **{KEY_NAME: "a-key"}))
    Door(None, certified=True).admit(Caller(peer))
    for door, given in ((Door("a-key"), {}), (Door("a-key"), {KEY_NAME: "ä"}), (Door(None), {KEY_NAME: ""})):
        with pytest.raises(Refused) as caught:
            door.admit(Caller(peer, **given))
        assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_is_sent_as_metadata_over_another_address_of_this_machine(tmp_path):
    address = other_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    key = SecretStr("a-key")
    async with running(tmp_path, host="0.0.0.0", worker_key=key) as serving:
        for given, code in (("a-key", None), (None, grpc.StatusCode.UNAUTHENTICATED)):
            target = Target(f"{address}:{serving.port}", api_key=given)
            async with Line(target) as line:
                why = await line.why_not()
                assert (why is None) is (code is None)
                call = line.generator.Generate(
                    wire.GenerateRequest(job_id="job-1", prompt="x", model="none"), metadata=target.metadata
                )
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call.read()
                assert caught.value.code() is (code or grpc.StatusCode.FAILED_PRECONDITION)


def other_address() -> str | None:
    """Nothing is sent: the route is looked up, and is this machine's own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = probe.getsockname()[0]
    return None if found.startswith("127.") else found
