-- snapshot_levels: the snapshots of every account now and a week before, for the thresholds of `check`.
-- grain: one row per account
-- from: lake_captures, lake_runs (the warehouse); a week before is the last capture 7 to 8 days older than the newest
-- GiB are summed as decimals, so that no order of the rows changes a sum
-- snapshots is null where the capture did not read /snapshots and /images listed none: nobody knows, it is not 0
-- $old_seconds is the age from which on a snapshot counts as old, null for no age
with newest as (
    select
        account,
        n,
        captured_at,
        snapshots is not null as is_known,
        instances is not null as has_instances
    from lake_captures
    where is_newest
),

week_before as (
    select
        c.account,
        max(c.n) as n,
        arg_max(c.snapshots is not null, c.n) as is_known
    from lake_captures as c
    inner join newest as w
        on w.account = c.account
    where c.captured_at between w.captured_at - interval 8 day and w.captured_at - interval 7 day
    group by c.account
),

snapshots as (
    select
        w.account,
        w.captured_at,
        r.image_id,
        max(r.name) as name,
        min(r.created_at) as created_at,
        max(r.size_gib) as size_gib
    from newest as w
    inner join lake_runs as r
        on r.account = w.account
        and w.n between r.first_n and r.last_n
    where r.type = 'snapshot'
    group by w.account, w.captured_at, r.image_id
),

levels as (
    select
        account,
        count(*) as snapshots,
        cast(sum(cast(size_gib as decimal(38, 9))) as double) as gib,
        count(size_gib) as sized,
        count(*) filter (
            where created_at < captured_at - to_seconds(cast($old_seconds as bigint))
        ) as old,
        min(created_at) as oldest_at,
        arg_min(name, row(created_at, image_id)) as oldest_name
    from snapshots
    group by account
),

levels_before as (
    select
        b.account,
        case when b.is_known or count(r.image_id) > 0 then count(distinct r.image_id) end as snapshots
    from week_before as b
    left join lake_runs as r
        on r.account = b.account
        and b.n between r.first_n and r.last_n
        and r.type = 'snapshot'
    group by b.account, b.is_known
)

select
    w.account,
    w.captured_at,
    w.is_known,
    w.has_instances,
    case when w.is_known then coalesce(l.snapshots, 0) else l.snapshots end as snapshots,
    case when coalesce(l.snapshots, 0) = 0 then 0.0 else l.gib end as gib,
    coalesce(l.snapshots - l.sized, 0) as unsized,
    coalesce(l.old, 0) as old,
    l.oldest_at,
    l.oldest_name,
    b.snapshots as week_before
from newest as w
left join levels as l
    on l.account = w.account
left join levels_before as b
    on b.account = w.account
order by w.account
