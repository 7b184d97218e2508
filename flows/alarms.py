"""The automations that make Prefect call a webhook, as code: a run that ended badly, and silence.

python flows/serve.py --alarms https://hooks.example.com/a-secret-path

Silence is measured by events of our own. Prefect's automations hear of a run's state up to a quarter of an hour late
where it comes within minutes after the run was planned; of these events they hear at once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import flows  # noqa: F401  what Prefect reads when it is imported

# isort: split
from prefect.automations import Automation, AutomationCore, EventTrigger
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import emit_event
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import Posture
from prefect.types import SecretDict
from pydantic import SecretStr

from genesis_etl.settings import Hook

BLOCK: Final = "genesis-etl-alarm"
FAILED: Final = "genesis-etl: a run failed, crashed or was cancelled"
SILENCE: Final = "genesis-etl: no export-images has completed"
SHORTEST: Final = timedelta(seconds=10)  # that Prefect can wait for what does not come

_EXPORTS: Final = {"prefect.resource.id": "genesis-etl.export-images"}
_COMPLETED: Final = "genesis-etl.export.completed"
_AWAITED: Final = "genesis-etl.export.awaited"
_RUN: Final = '{"text": {{ (flow_run.name ~ ": " ~ flow_run.state.name ~ ": " ~ flow_run.state.message) | tojson }}}'


def tell_completed() -> None:
    """Tell the alarm of silence that an export-images has completed."""
    emit_event(_COMPLETED, _EXPORTS)


def register_alarms(hook: Hook, silence: timedelta | None) -> None:
    """Make Prefect call the webhook, or change what was registered before; raises what Prefect does.

    It hears of every run of ours that ends as Failed, Crashed or Cancelled, and once where no export-images has
    completed for as long as `silence`, counted from the last one or from now. None: there is no schedule to wait for.
    The URL is stored in a block alone, whose text Prefect encrypts.
    """
    json = SecretDict({"Content-Type": "application/json"})
    block = Webhook(method="POST", url=SecretStr(hook.reveal()), headers=json)
    call = block.save(BLOCK, overwrite=True)
    wanted = [
        AutomationCore(
            name=FAILED,
            description="Registered by flows/serve.py --alarms.",
            trigger=EventTrigger(
                expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "Cancelled")},
                match_related={"prefect.resource.id": "prefect.tag.genesis-etl"},
                posture=Posture.Reactive,
            ),
            actions=[CallWebhook(block_document_id=call, payload=_RUN)],
        )
    ]
    if silence is not None:
        seconds = silence.total_seconds()
        span = f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} seconds"
        text = f"genesis-etl: no export-images has completed for {span}; look at Prefect, and whether the flows run"
        wanted.append(
            AutomationCore(
                name=SILENCE,
                description="Registered by flows/serve.py --alarms.",
                trigger=EventTrigger(
                    after={_AWAITED, _COMPLETED},
                    expect={_COMPLETED},
                    match=_EXPORTS,
                    posture=Posture.Proactive,
                    within=max(silence, SHORTEST),
                ),
                actions=[CallWebhook(block_document_id=call, payload=f'{{"text": "{text}"}}')],
            )
        )
    with get_client(sync_client=True) as client:
        for name in (FAILED, SILENCE):
            _register(client, name, next((each for each in wanted if each.name == name), None))
    emit_event(_AWAITED, _EXPORTS)


def _register(client: SyncPrefectClient, name: str, wanted: AutomationCore | None) -> None:
    """Let there be one automation of that name, as wanted; an update would begin its wait anew, so only if needed."""
    found = client.read_automations_by_name(name)
    keep = found[:1] if wanted is not None else []
    for automation in found[len(keep) :]:
        client.delete_automation(automation.id)
    if wanted is None:
        return
    if not keep:
        client.create_automation(wanted)
    elif _core(keep[0]) != _core(wanted):
        client.update_automation(keep[0].id, wanted)


def _core(automation: AutomationCore | Automation) -> dict[str, object]:
    return AutomationCore.model_validate(automation.model_dump()).model_dump()
