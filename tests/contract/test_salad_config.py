"""What Salad is configured with, and what is sent to it because of that."""

import pytest
from salad_api import RTX_4090, SPEC, TAG

from provider_clients.base import LaunchSpec
from provider_clients.salad import SaladConfig
from provider_clients.salad.group import group_body


def config(**more):
    return SaladConfig(
        **{"api_key": "key", "organization": "acme", "project": "render", "image": "ghcr.io/a/b:1", **more}
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"organization": "Acme"}, "organisation 'Acme'"),
        ({"project": "a"}, "project 'a'"),
        ({"project": "render-"}, "project 'render-'"),
        ({"organization": "a/../b"}, "organisation"),
        ({"api_key": ""}, "API key"),
        ({"per_minute": 0.0}, "requests a minute"),
        ({"base_url": "api.salad.com"}, "base URL"),
        ({"priorities": ("batch", "cheapest")}, "priority 'cheapest'"),
        ({"priorities": ()}, "must be a priority"),
        ({"mode": "both"}, "mode 'both'"),
        ({"image": ""}, "image"),
        ({"countries": ("US", "ca")}, "unlike US"),
        ({"cpu": 32}, "32 CPU"),
        ({"memory_mb": 16}, "16 MB"),
        ({"storage_gb": 500}, "500 GB"),
        ({"image_gb": -1.0}, "not negative"),
        ({"environment": {"TOKEN": "s" * 1001}}, "TOKEN is longer"),
    ],
)
def test_what_the_api_could_never_take_is_said_at_the_start(wrong, said):
    with pytest.raises(ValueError, match=said):
        config(**wrong)


def test_all_faults_are_said_at_once_and_no_secret_is():
    with pytest.raises(ValueError, match=r"priority.*CPU.*TOKEN") as raised:
        config(priorities=("none",), cpu=0, environment={"TOKEN": "hush" * 300})
    assert "hush" not in str(raised.value)
    assert "secret-key" not in repr(config(api_key="secret-key"))
    assert "secret-key" not in repr(config(api_key="secret-key").account)


def test_a_body_has_one_replica_of_the_image_with_a_priority():
    body = group_body(config(countries=("us", "ca"), storage_gb=50), SPEC, TAG, RTX_4090, "batch")
    container = body["container"]
    assert (body["name"], body["display_name"], body["replicas"]) == (TAG, TAG, 1)
    assert (body["autostart_policy"], body["restart_policy"]) == (True, "always")
    assert body["country_codes"] == ["us", "ca"]
    assert "queue_connection" not in body
    assert (container["image"], container["priority"]) == ("ghcr.io/a/b:1", "batch")
    assert container["resources"] == {
        "cpu": 4,
        "memory": 16384,
        "gpu_classes": [RTX_4090],
        "storage_amount": 53_687_091_200,
    }
    assert "country_codes" not in group_body(config(), SPEC, TAG, RTX_4090, "batch")


def test_an_agent_is_told_where_it_reports():
    spec = LaunchSpec("w-1", "RTX 4090", "https://o.test", "gpw_k", {"EXTRA": "1", "EMPTY": ""})
    body = group_body(config(environment={"MINE": "2", "EXTRA": "less"}), spec, TAG, RTX_4090, "batch")
    assert body["container"]["environment_variables"] == {
        "MINE": "2",
        "EXTRA": "1",
        "GPULEASE_ORCHESTRATOR_URL": "https://o.test",
        "GPULEASE_WORKER_ID": "w-1",
        "GPULEASE_WORKER_KEY": "gpw_k",
        "GPULEASE_GPU_CLASS": "RTX 4090",
    }
    assert "readiness_probe" not in body


def test_a_container_for_a_queue_is_no_agent():
    body = group_body(config(mode="queue"), SPEC, TAG, RTX_4090, "batch")
    assert body["queue_connection"] == {"queue_name": TAG, "path": "/generate", "port": 8000}
    assert body["readiness_probe"]["http"]["path"] == "/hc"
    assert body["container"]["environment_variables"] == {
        "GPULEASE_GPU_CLASS": "RTX 4090",
        "GPULEASE_WORKER_HOST": "::",
        "GPULEASE_WORKER_PORT": "8000",
    }


def test_in_queue_mode_the_key_is_shared():
    assert config(per_minute=100.0).account.per_minute == 100
    assert config(per_minute=100.0, mode="queue").account.per_minute == 50


def test_a_boot_takes_longer_for_a_larger_image():
    default, tiny = config().boot_prior, config(image_gb=0.01).boot_prior
    assert default.mean_s == pytest.approx(300, abs=5)
    assert default.p90_s == pytest.approx(900, abs=5)
    assert default.p99_s == pytest.approx(1500, abs=5)
    assert tiny.mean_s > 80
    assert tiny.p99_s < 200
