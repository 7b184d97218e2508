"""The scheduled life of genesis-etl on Prefect; the only place that imports it.

Prefect reads these when it is imported, so this package, or `import flows`, comes first. Its server's first start
takes longer than its own limit of 20 s.
"""

import os

from genesis_etl.redact import clean_logs

os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
clean_logs()  # of Prefect, too, which keeps every line in its database
