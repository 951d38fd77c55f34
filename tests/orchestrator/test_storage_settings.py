"""Which storage the settings mean, and what they lack for it."""

import subprocess
import sys

import pytest

from orchestrator.clock import ManualClock
from orchestrator.settings import SettingsError, load
from orchestrator.storage.choose import storage_of

S3 = {"MINIO_ENDPOINT": "minio:9000", "MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "very-secret"}
B2 = {"B2_KEY_ID": "k", "B2_APP_KEY": "very-secret", "B2_BUCKET_NAME": "talking"}


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """What is chosen under such names in the environment."""
    monkeypatch.chdir(tmp_path)

    def choose(**environment):
        for name in (*S3, *B2, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return storage_of(load(data=tmp_path), lambda: "http://here", b"secret", ManualClock())

    return choose


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({"GPULEASE_STORAGE": "s3"}, {"MINIO_ENDPOINT", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"}),
        ({"GPULEASE_STORAGE": "s3", "MINIO_ENDPOINT": "a"}, {"MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"}),
        ({"GPULEASE_STORAGE": "s3", **S3, "MINIO_BUCKET": ""}, {"MINIO_BUCKET"}),
        ({"GPULEASE_STORAGE": "b2"}, {"B2_KEY_ID", "B2_APP_KEY", "B2_BUCKET_NAME"}),
        ({"GPULEASE_STORAGE": "b2", "B2_KEY_ID": "k"}, {"B2_APP_KEY", "B2_BUCKET_NAME"}),
    ],
)
def test_all_that_is_missing_is_listed(chosen, environment, missing):
    with pytest.raises(SettingsError) as told:
        chosen(**environment)
    assert {line.partition(":")[0] for line in str(told.value).splitlines()} == missing


def test_names_of_the_video_system_do_as_well(chosen):
    storage = chosen(
        GPULEASE_STORAGE="s3",
        AWS_S3_ENDPOINT="http://minio.video.svc.cluster.local:9000",
        AWS_S3_BUCKET="videos",
        AWS_ACCESS_KEY_ID="minio",
        AWS_SECRET_ACCESS_KEY="very-secret",
    )
    assert storage.bucket == "videos"
    assert storage.origins() == ("http://minio.video.svc.cluster.local:9000",)


def test_the_bucket_and_the_address_that_those_outside_see(chosen):
    storage = chosen(GPULEASE_STORAGE="s3", **S3)
    assert (storage.bucket, storage.origins()) == ("c3-render-output", ("http://minio:9000",))
    assert chosen(GPULEASE_STORAGE="s3", **S3, MINIO_SECURE="true").origins() == ("https://minio:9000",)
    public = chosen(GPULEASE_STORAGE="s3", **S3, MINIO_PUBLIC_URL="https://files.example.com")
    assert public.origins() == ("https://files.example.com",)


@pytest.mark.parametrize("prefix", ["avatar/outputs", "/avatar/outputs/"])
def test_ours_lies_in_a_folder_of_the_b2_bucket(chosen, prefix):
    storage = chosen(GPULEASE_STORAGE="b2", **B2, B2_PREFIX=prefix)
    assert storage.object_name("jobs/a") == "avatar/outputs/jobs/a"
    assert chosen(GPULEASE_STORAGE="b2", **B2, B2_PREFIX="").object_name("jobs/a") == "jobs/a"


def test_an_endpoint_that_is_none_stops_the_start(chosen):
    with pytest.raises(SettingsError, match="storage s3"):
        chosen(GPULEASE_STORAGE="s3", **(S3 | {"MINIO_ENDPOINT": "http://minio/with/path"}))


def test_the_local_storage_loads_neither_sdk():
    """They take longer to import than all the rest of the start."""
    code = "import sys, orchestrator.app; print([one for one in ('boto3', 'b2sdk') if one in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
