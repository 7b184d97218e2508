"""The last day of the demo: today's capture of the sandbox's account, taken by the flow itself.

python flows/demo.py [LAKE]
"""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime

from genesis_etl import open_lake
from genesis_etl.demo import LAKE, REPORTS, captured_days, closing_lines, demo_api
from genesis_etl.query.report import find_report
from genesis_etl.render import render


def capture_today(lake: str) -> bool:
    """Run the flow against the demo's account unless today has a capture; tell whether it ran."""
    if datetime.now(UTC).date() in captured_days(lake):
        return False
    from flows.export_images import export_images

    with demo_api() as sandbox:
        for name in [name for name in os.environ if name.startswith(("GENESISCLOUD_", "GENESIS_ETL_"))]:
            del os.environ[name]
        os.environ["GENESISCLOUD_ENDPOINT"] = sandbox.endpoint
        os.environ["GENESISCLOUD_TOKEN"] = sandbox.token
        os.environ["GENESIS_ETL_RATE"] = "1000"
        export_images(config=os.devnull, lake=lake)
    return True


def main() -> None:
    """Capture today, print both reports and what to try next."""
    lake = sys.argv[1] if len(sys.argv) > 1 else LAKE
    has_run = capture_today(lake)
    print("today captured by the Prefect flow" if has_run else "today was captured already, the flow had nothing to do")
    opened = open_lake(lake)
    for name, options in REPORTS:
        print(f"\n{find_report(name).title}\n")
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(render(opened.report_rows(name, **options), "table", width).decode(), end="")
    print("\n".join(closing_lines(lake, ".venv/bin/")))


if __name__ == "__main__":
    main()
