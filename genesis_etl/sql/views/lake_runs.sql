-- lake_runs: the runs of every file, counted in captures of the account instead of time.
-- grain: one row per run of a file × stretch of captures that belong to the file
-- from: lake_single_rows, lake_many_rows; a stretch is an unbroken sequence of captures of one file (the warehouse numbers both)
with stretches as (
    select
        path,
        stretch,
        min(n) as first_n,
        min(captured_at) as first_at,
        max(captured_at) as last_at,
        max(n) as last_n
    from lake_captures
    group by path, stretch
),

-- captures of one file may share an instant; a run that begins or ends there holds them all
moments as (
    select
        path,
        captured_at,
        min(n) as first_n,
        max(n) as last_n
    from lake_captures
    group by path, captured_at
)

select
    c.n as first_n,
    c.n as last_n,
    r.* exclude (first_seen, last_seen, path)
from lake_single_rows as r
inner join lake_captures as c
    on c.path = r.path
    and c.captured_at between r.first_seen and r.last_seen
union all
select
    case when r.first_seen <= s.first_at then s.first_n else f.first_n end as first_n,
    case when r.last_seen >= s.last_at then s.last_n else l.last_n end as last_n,
    r.* exclude (first_seen, last_seen, path)
from lake_many_rows as r
inner join stretches as s
    on s.path = r.path
    and r.first_seen <= s.last_at
    and r.last_seen >= s.first_at
left join moments as f
    on f.path = r.path
    and f.captured_at = r.first_seen
left join moments as l
    on l.path = r.path
    and l.captured_at = r.last_seen
