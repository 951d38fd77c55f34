"""scratch_dir: a folder below the root, whatever else it is called, and what is put there."""

import grpc
import pytest
from rpc_world import running

from gpulease.contract import video_generator_pb2 as wire

pytestmark = pytest.mark.slow


def asked(scratch_dir, job_id="job-1"):
    return wire.GenerateRequest(job_id=job_id, prompt="a cat", scratch_dir=str(scratch_dir))


async def end_of(serving, request):
    return [event async for event in serving.generator.Generate(request)][-1]


async def refused(serving, scratch_dir):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end_of(serving, asked(scratch_dir))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("scratch_dir: ")
    assert serving.engine.works == []


async def test_the_video_is_put_there_under_the_name_of_its_job(serving):
    serving.engine.go.set()
    for folder in (serving.root / "mine", serving.root):
        result = (await end_of(serving, asked(folder))).result
        assert result.artifact_path == str(folder / "job-1.mp4")
        assert (folder / "job-1.mp4").read_bytes() == b"a film"
        assert [one.name for one in folder.iterdir() if one.name.startswith(".")] == []
    assert len(serving.engine.works) == 1


@pytest.mark.parametrize("job_id", ["../../out", "a/b", ".hidden", "--option", "x" * 150, "über", "a\\0"])
async def test_an_id_that_is_no_name_of_a_file_leads_nowhere(serving, job_id):
    with pytest.raises(grpc.aio.AioRpcError, match="job_id: "):
        await end_of(serving, asked(serving.root / "mine", job_id))
    assert serving.engine.works == []


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "/proc/self/root", "{root}/..", "{root}/mine/../../jobs", "{root}/none", "mine", "a\0b"],
)
async def test_no_other_folder_is_taken(serving, path):
    if "\0" in path:
        return await refused(serving, f"{serving.root}/{path}")
    return await refused(serving, path.format(root=serving.root))


async def test_a_link_out_of_the_root_and_a_file_are_not_taken(serving, tmp_path):
    (serving.root / "out").symlink_to(tmp_path)
    (serving.root / "file").write_text("")
    await refused(serving, serving.root / "out")
    await refused(serving, serving.root / "file")


async def test_a_folder_that_became_a_link_meanwhile_gets_nothing(serving, tmp_path):
    mine, elsewhere = serving.root / "mine", tmp_path / "elsewhere"
    elsewhere.mkdir()
    call = serving.generator.Generate(asked(mine))
    await call.read()
    mine.rmdir()
    mine.symlink_to(elsewhere)
    serving.engine.go.set()
    while (event := await call.read()) is not grpc.aio.EOF:
        last = event
    assert last.error.code == wire.FAILED
    assert last.error.message.startswith("scratch_dir: ")
    assert list(elsewhere.iterdir()) == []


async def test_a_link_where_the_video_goes_is_replaced_and_not_followed(serving, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (serving.root / "mine" / "job-1.mp4").symlink_to(victim)
    serving.engine.go.set()
    result = (await end_of(serving, asked(serving.root / "mine"))).result
    assert (victim.read_text(), result.bytes) == ("mine", 6)
    assert not (serving.root / "mine" / "job-1.mp4").is_symlink()


async def test_a_worker_without_a_root_takes_none(tmp_path):
    async with running(tmp_path, grpc_scratch_root=None) as serving:
        await refused(serving, tmp_path)


async def test_a_job_that_nobody_follows_leaves_its_video_there_too(serving):
    call = serving.generator.Generate(asked(serving.root / "mine"))
    await call.read()
    call.cancel()
    serving.engine.go.set()
    job = wire.GetJobRequest(job_id="job-1")
    while (await serving.generator.GetJob(job)).status != wire.GetJobResponse.SUCCEEDED:
        pass
    assert (serving.root / "mine" / "job-1.mp4").read_bytes() == b"a film"
    status = await serving.submissions.GetStatus(wire.StatusRequest(job_id="job-1"))
    assert (status.state, status.output_path) == ("completed", str(serving.root / "mine" / "job-1.mp4"))
