"""Every route of the OpenAPI document, asked what nobody thought of asking: no 5xx, and no answer that it lacks."""

import subprocess
import sys
from pathlib import Path

import pytest
from up import Up

KEY = "admin-key-of-the-openapi-document"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
OWN_KEYS = "/v1/keys/.+"
"""Rotated or revoked, its own key would end the run."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_no_route_breaks_or_answers_what_is_not_documented(tmp_path):
    up = Up(
        tmp_path,
        GPULEASE_ADMIN_KEY=KEY,
        GPULEASE_PROVIDERS="",
        GPULEASE_REQUESTS_PER_S="100000",
        REGISTER_AUTH_CODE="join-us",
    )
    try:
        up.http.headers["Authorization"] = f"Bearer {KEY}"
        up.start()
        ran = subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{up.http.base_url}/openapi.json",
                *("--header", f"Authorization: Bearer {KEY}"),
                *("--phases", "coverage,fuzzing"),
                *("--checks", CHECKS),
                *("--exclude-path-regex", OWN_KEYS),
                *("--max-examples", "10"),
                *("--seed", "1"),
                *("--workers", "2"),
                *("--max-failures", "20"),
                *("--request-timeout", "20"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=380,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
        assert up.http.get("/v1/me").status_code == 200, (
            "its key ended with it, so it was refused from then on"
        )
    finally:
        up.stop()
        up.http.close()
        up.log.close()
