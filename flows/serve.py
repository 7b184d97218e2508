"""Serves the deployments of `prefect.yaml` from this process, for a machine without workers, until interrupted.

python flows/serve.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect import serve
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint

DECLARED = Path("prefect.yaml")


def deployments(path: Path = DECLARED) -> list[RunnerDeployment]:
    """Return the deployments that the file declares, as `prefect deploy` would make them, but without a work pool."""
    return [_deployment(**declared) for declared in yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]]


def _deployment(
    *,
    name: str,
    entrypoint: str,
    schedules: list[dict[str, Any]],
    concurrency_limit: dict[str, Any],
    work_pool: object = None,
    **options: Any,
) -> RunnerDeployment:
    return load_flow_from_entrypoint(entrypoint).to_deployment(
        name,
        schedules=[DeploymentScheduleCreate(schedule=schedule) for schedule in schedules],
        concurrency_limit=ConcurrencyLimitConfig(**concurrency_limit),
        **options,
    )


def main() -> int:
    """Serve until a signal comes; one line where the file is not there or Prefect cannot be reached."""
    try:
        serve(*deployments())
    except OSError as error:
        print(f"error: cannot read {DECLARED}: {error.strerror}; start this from the project's folder", file=sys.stderr)
        return 2
    except Exception as error:
        print(f"error: Prefect: {error}; `genesis-etl export` captures without it", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
