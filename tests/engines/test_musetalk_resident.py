"""What stays in memory between MuseTalk's jobs, what comes again, and what a fault or a cancel leaves."""

import asyncio
from pathlib import Path

import numpy as np
import psutil
import pytest
from musetalk_world import URLS, inputs, world_of
from talking_media import face_film, mouths, served, speech

from gpulease.contract.engines import CATALOGUE
from gpulease.contract.jobs import Phase
from worker_image.engines.base import EngineConfig, EngineJob
from worker_image.engines.musetalk.materials import prepare
from worker_image.engines.musetalk.pictures import PictureStore
from worker_image.engines.musetalk.resident import Resident
from worker_image.execute import Ears, Executor, Work
from worker_image.faults import Faulted, HostFault, InputFault
from worker_image.host.pool import HostPool
from worker_image.media.fetch import Fetcher
from worker_image.media.prefetch import Prefetched

pytestmark = pytest.mark.slow


async def test_models_are_loaded_once_and_a_known_face_is_not_searched_again(tmp_path: Path):
    async with world_of("resident", tmp_path, load_s=1.0, landmark_s=0.02) as world:
        video, audio = inputs(tmp_path / "in", 1.0)
        first = await world.run(video, audio)
        first_s = world.took_s
        again = await world.run(video, speech(tmp_path / "other", 0.8))
        known_s, messages = world.took_s, {step.message for step in world.steps}
        new = await world.run(face_film(tmp_path / "face2", 1.0, size=(192, 128)), audio)
        assert world.counts == {"landmarks": 50, "load": 1}
        assert [made.data["avatar_known"] for made in (first, again, new)] == [False, True, False]
        assert "finding the face" not in messages
        assert known_s < first_s - 1.4


async def test_a_longer_speech_searches_only_what_is_new(tmp_path: Path):
    async with world_of("resident", tmp_path) as world:
        video, audio = inputs(tmp_path / "in", 0.4)
        await world.run(video, audio)
        made = await world.run(video, speech(tmp_path / "long", 1.2))
        assert world.counts["landmarks"] == 30
        assert not made.data["avatar_known"]
        await world.run(video, speech(tmp_path / "middle", 0.8))
        assert world.counts["landmarks"] == 30


@pytest.mark.slow
async def test_a_warm_job_is_faster_than_a_process_a_job(tmp_path: Path):
    """Two jobs on one face, where the models take a while to load."""
    took = {}
    for mode in ("one-shot", "resident"):
        async with world_of(mode, tmp_path / mode, load_s=1.5) as world:
            video, audio = inputs(tmp_path / mode / "in", 0.5)
            await world.run(video, audio)
            await world.run(video, audio)
            took[mode] = world.took_s
            assert world.counts["load"] == (2 if mode == "one-shot" else 1)
            assert world.pool.resident() == (("musetalk/v1.5",) if mode == "resident" else ())
    assert took["resident"] < took["one-shot"] / 2


async def test_frames_without_a_face_stay_as_they_are_and_lips_do_not_drift(tmp_path: Path):
    async with world_of("resident", tmp_path) as world:
        video, audio = inputs(tmp_path / "in", 2.0, blanks=range(10, 20))
        made = await world.run(video, audio)
    assert made.data["frames_without_face"] == 10
    opened, whole = mouths(Path(made.files[0].path)), None
    async with world_of("resident", tmp_path / "whole") as world:
        whole = mouths(Path((await world.run(*inputs(tmp_path / "whole" / "in", 2.0))).files[0].path))
    assert not opened[10:20].any()
    assert np.abs(opened[22:] - whole[22:]).max() < 40


async def test_a_failed_job_leaves_the_models_loaded(tmp_path: Path):
    async with world_of("resident", tmp_path) as world:
        video, audio = inputs(tmp_path / "in", 0.5)
        for fail in ("crash", "exit"):
            world.turn(fail=fail)
            with pytest.raises(Faulted):
                await world.run(video, audio)
            assert "stand-in was told" in world.log or fail == "exit"
        with pytest.raises(InputFault):
            await world.run(tmp_path / "in" / "voice", audio)
        world.turn()
        await world.run(video, audio)
        assert world.counts["load"] == 1


async def test_a_fault_of_memory_ends_the_process_that_holds_it(tmp_path: Path):
    async with world_of("resident", tmp_path) as world:
        video, audio = inputs(tmp_path / "in", 0.5)
        await world.run(video, audio)
        world.turn(fail="oom")
        with pytest.raises(HostFault, match="CUDA out of memory"):
            await world.run(video, audio)
        assert not drivers()
        world.turn()
        await world.run(video, audio)
        assert world.counts["load"] == 2


def drivers() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if "inside" in " ".join(cmdline(one))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def test_a_quick_cancel_keeps_the_models(tmp_path: Path):
    async with world_of("resident", tmp_path, frame_s=0.02) as world:
        video, audio = inputs(tmp_path / "in", 3.0)
        task = asyncio.create_task(world.run(video, audio))
        async with asyncio.timeout(20):
            while not any((step.step or 0) > 8 for step in world.steps):
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        world.turn()
        await world.run(video, audio)
        assert world.counts["load"] == 1


async def test_a_worker_runs_it_from_urls_and_unloads_it(tmp_path: Path):
    """Through the executor: fetched inputs, an offer by probe, and no process left when it is unloaded."""
    async with world_of("resident", tmp_path) as world:
        inputs(tmp_path / "in", 0.6)
        config = EngineConfig(device="cpu", musetalk_workdir=str(world.checkout))
        offer = offers_of(config)
        pool = HostPool(config, tmp_path / "own-hosts")
        executor = Executor(pool, (offer,), Prefetched(tmp_path / "prefetched"), "cpu")
        fetcher = Fetcher(allow_hosts=("127.0.0.1",))
        with served(tmp_path / "in") as base:
            urls = {"video_url": f"{base}/face", "audio_url": f"{base}/voice"}
            folder = tmp_path / "work"
            folder.mkdir()
            steps = []
            work = Work("job-1", "musetalk", None, urls, folder, urls)
            made = await executor.run(work, fetcher, Ears(steps.append))
        assert made.backend == "musetalk"
        assert made.outcome.metrics["gpu_class"] == "cpu"
        assert {step.phase for step in steps} >= {Phase.PREPARING, Phase.INFERRING, Phase.ENCODING}
        assert drivers()
        await pool.unload()
        assert not drivers()
        await fetcher.aclose()
        await pool.close()


def offers_of(config: EngineConfig):
    offer = Resident(config).probe()
    assert not isinstance(offer, str), offer
    return offer


def test_pictures_of_old_faces_make_room(tmp_path: Path):
    store, seen = PictureStore(tmp_path / "store"), []
    asked = CATALOGUE["musetalk"].input_model.model_validate(URLS)
    for number in range(5):
        video = face_film(tmp_path / f"face-{number}", 0.2, size=(64 + 2 * number, 48))
        job = job_of(tmp_path / f"job-{number}", video, speech(tmp_path / "voice", 0.4))
        materials = prepare(job, asked.params, Path(job.folder), lambda *_, **__: None)
        seen.append(store.of(materials, lambda _: None))
    assert [pictures.folder.exists() for pictures in seen] == [False, False, True, True, True]
    assert {pictures.count for pictures in seen} == {5}
    store.clear()
    assert not any((tmp_path / "store").iterdir())


def job_of(folder: Path, video: Path, audio: Path):
    folder.mkdir()
    return EngineJob(
        "job", "musetalk", None, {}, {"video_url": str(video), "audio_url": str(audio)}, str(folder)
    )
