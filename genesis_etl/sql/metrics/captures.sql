-- captures: when the newest capture of every account began, and how long it took.
-- grain: one row per account
-- from: captures
select
    account,
    arg_max(captured_at, (captured_at, capture_id)) as captured_at,
    arg_max(epoch(finished_at - captured_at), (captured_at, capture_id)) as seconds
from captures
group by account
order by account
