-- captured: since when every account is captured, how often, and how many snapshots it has
-- grain: one row per account
-- snapshots is what the newest capture that knows it counted, null where none does
select
    account,
    min(captured_at) as first,
    max(captured_at) as newest,
    count(*) as captures,
    arg_max(snapshots, (captured_at, capture_id)) as snapshots
from captures
group by account
order by account
