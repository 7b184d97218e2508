-- lake_captures: the captures in their order, with what the other views need of it.
-- grain: one row per capture
-- from: lake_commits (the commits of the lake, from the warehouse)
-- n counts an account's captures from 1; a stretch is an unbroken sequence of captures of one file
with numbered as (
    select
        *,
        row_number() over in_order as n,
        lag(path) over in_order as previous_path,
        lead(capture_id) over in_order is null as is_newest
    from lake_commits
    window in_order as (partition by account order by captured_at, capture_id)
)

select
    *,
    sum(case when path = previous_path then 0 else 1 end) over (
        partition by account
        order by n
        rows unbounded preceding
    ) as stretch
from numbered
