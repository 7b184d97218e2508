"""The image and the services, held against what can be checked without an engine: text, names, linters."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from genesis_etl import settings

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
KNOWN = {*(each.variable for each in settings.SETTINGS.values()), *settings.TOKEN_VARIABLES}


def test_the_image_copies_what_there_is_and_nothing_else_gets_near_it() -> None:
    """What the Dockerfile copies is in the repository, and .dockerignore lets that through and no more."""
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_every_image_is_pinned_and_every_process_is_nobody_in_particular() -> None:
    """Images have a full version; the image ends as a user without rights, and services can gain none."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert all(re.search(r":\d+\.\d+[^:]*-bookworm$", image) for image in bases + images)
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    for service in SERVICES.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("user") == "postgres" or "build" in service


@pytest.mark.slow
def test_what_the_services_are_given_exists_and_no_secret_stands_in_it() -> None:
    """Every variable is a setting of ours or of Prefect's; passwords and tokens come from whoever starts it."""
    import prefect.settings

    given = {name: value for service in SERVICES.values() for name, value in service["environment"].items()}
    given |= dict(re.findall(r"\b((?:GENESIS|PREFECT)[A-Z_]*)=(\S+)", DOCKERFILE))
    assert {name for name in given if name.startswith("GENESIS")} <= KNOWN
    assert all(hasattr(prefect.settings, name) for name in given if name.startswith("PREFECT_"))
    assert not hasattr(prefect.settings, "PREFECT_NO_SUCH_SETTING")
    secret = {name: value for name, value in given.items() if re.search("PASSWORD|TOKEN|WEBHOOK|HEARTBEAT", name)}
    assert all(value is None or value.startswith("${") for value in secret.values())


def test_services_start_in_order_and_are_watched() -> None:
    """The server waits for its database and the flows for the server, until each is healthy; all have a check."""
    assert list(SERVICES["prefect"]["depends_on"]) == ["postgres"]
    assert list(SERVICES["flows"]["depends_on"]) == ["prefect"]
    waits = [each for service in SERVICES.values() for each in service.get("depends_on", {}).values()]
    assert all(each == {"condition": "service_healthy"} for each in waits)
    assert "healthcheck" in SERVICES["postgres"]
    assert "healthcheck" in SERVICES["prefect"]
    assert "HEALTHCHECK" in DOCKERFILE
    assert 'CMD ["python", "flows/serve.py"]' in DOCKERFILE


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["hadolint", "--failure-threshold", "style", "Dockerfile"],
        ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    ],
    ids=["hadolint", "compose-spec"],
)
def test_linters_find_nothing(command: list[str]) -> None:
    """Hadolint accepts the Dockerfile, and the compose file follows the Compose Specification."""
    program = Path(sys.executable).parent / command[0]
    if not program.exists():
        pytest.skip(f"{command[0]} comes with requirements-all.txt")
    done = subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
