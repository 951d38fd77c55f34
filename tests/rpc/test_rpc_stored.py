"""Videos that the worker stores itself: where they lie is told, and a folder gets them all the same."""

import pytest
from rpc_world import running

from gpulease.contract import video_generator_pb2 as wire
from worker_image.deliver.delivery import Delivery
from worker_image.deliver.destination import Stored

pytestmark = pytest.mark.slow


class Bucket:
    """A destination in memory."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.bucket = f"videos-{kind}"
        self.held: dict[str, bytes] = {}

    def key_of(self, name: str) -> str:
        return f"made/{name}"

    def is_behind(self, grant) -> bool:
        return False

    async def store(self, content, key, facts):
        self.held[key] = content.path.read_bytes()
        return Stored(self.kind, self.bucket, key, etag="an-etag" if self.kind == "minio" else None)


async def result_of(serving, **more):
    request = wire.GenerateRequest(job_id="job-1", prompt="a cat", **more)
    return [event async for event in serving.generator.Generate(request)][-1].result


async def test_the_bucket_of_s3s_kind_is_told_and_nothing_stays_here(tmp_path):
    buckets = (Bucket("b2"), Bucket("minio"))
    async with running(tmp_path, delivery=Delivery(buckets)) as serving:
        serving.engine.go.set()
        result = await result_of(serving)
        assert (result.s3_url, result.etag) == ("s3://videos-minio/made/job-1.mp4", "an-etag")
        assert (result.artifact_path, result.bytes) == ("", 6)
        assert [one.held for one in buckets] == [{"made/job-1.mp4": b"a film"}] * 2
        job = await serving.generator.GetJob(wire.GetJobRequest(job_id="job-1"))
        assert job.s3_url == result.s3_url
        status = await serving.submissions.GetStatus(wire.StatusRequest(job_id="job-1"))
        assert status.output_path == result.s3_url


async def test_a_shared_folder_gets_the_video_beside(tmp_path):
    async with running(tmp_path, delivery=Delivery((Bucket("b2"),))) as serving:
        serving.engine.go.set()
        result = await result_of(serving, scratch_dir=str(serving.root))
        assert (result.s3_url, result.etag) == ("s3://videos-b2/made/job-1.mp4", "")
        assert result.artifact_path == str(serving.root / "job-1.mp4")
        assert (serving.root / "job-1.mp4").read_bytes() == b"a film"
