-- captures: every capture of the lake, and what it took.
-- grain: one row per capture
-- from: lake_captures (the warehouse), which also knows where the files lie
select
    account,
    capture_id,
    captured_at,
    finished_at,
    images,
    snapshots,
    instances,
    rows,
    requests,
    retries,
    passes,
    endpoint,
    etl_version,
    file,
    sha256
from lake_captures
