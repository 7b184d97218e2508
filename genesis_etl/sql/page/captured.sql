-- captured: since when every account is captured, how often, and how many snapshots it has
-- grain: one row per account
-- snapshots is what the newest capture counted in /snapshots, null where it did not read it
select
    account,
    min(captured_at) as first,
    max(captured_at) as newest,
    count(*) as captures,
    arg_max_null(snapshots, (captured_at, capture_id)) as snapshots
from captures
group by account
order by account
