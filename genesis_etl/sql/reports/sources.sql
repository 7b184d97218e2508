-- title: Which instances the snapshots are of
-- grain: one row per account × source instance with living snapshots; those without one in one row
-- parameter account: this account alone
-- parameter as_of: as it was then, and the 30 days count from then; else from the account's newest capture
-- parameter price: price of a GiB for a month
-- column account: short name of the account
-- column source_instance_id: instance that the snapshots were taken from; null for those without one
-- column source_instance_name: its name; of one that is gone the last known one, null if none is known
-- column source_instance_exists: whether that instance exists; null without one, or where it could not be read
-- column snapshots: living snapshots of it
-- column size_gib: their GiB; unknown sizes are left out, null if no size is known
-- column cost_per_month: size_gib at the price of a GiB-month; null without a price
-- column oldest_at: when the oldest of them was made
-- column newest_at: when the newest of them was made
-- column cadence_hours: median time from one to the next; null under two
-- column gib_net_30d: size_gib against the last capture at or before 30 days ago; null without such a capture
with accounts as (
    select
        c.account,
        max(c.n) as newest_n,
        max(case when c.captured_at <= w.counted_at - interval 30 day then c.n end) as then_n
    from lake_captures as c
    inner join (
        select account, coalesce(cast($as_of as timestamptz), captured_at) as counted_at
        from lake_captures
        where is_newest
    ) as w
        on w.account = c.account
    where cast($account as varchar) is null or c.account = $account
    group by c.account
),

runs as (
    select
        r.account,
        r.image_id,
        r.source_instance_id,
        r.source_instance_name,
        r.source_instance_exists,
        r.created_at,
        cast(r.size_gib as decimal(38, 9)) as size_gib,
        r.last_n,
        r.last_n >= a.newest_n as is_now,
        coalesce(a.then_n between r.first_n and r.last_n, false) as is_then
    from lake_runs as r
    inner join accounts as a
        on a.account = r.account
    where r.type = 'snapshot'
),

-- but for the region, all rows of an image are the same in one capture
living as (
    select
        account,
        image_id,
        max(source_instance_id) as source_instance_id,
        max(source_instance_name) as source_instance_name,
        bool_or(source_instance_exists) as source_instance_exists,
        max(created_at) as created_at,
        max(size_gib) as size_gib
    from runs
    where is_now
    group by account, image_id
),

apart as (
    select
        account,
        source_instance_id,
        date_diff(
            'microsecond',
            lag(created_at) over (partition by account, source_instance_id order by created_at, image_id),
            created_at
        ) as us
    from living
),

cadences as (
    select
        account,
        source_instance_id,
        median(cast(us as double)) as us
    from apart
    where us is not null
    group by account, source_instance_id
),

sources as (
    select
        account,
        source_instance_id,
        max(source_instance_name) as source_instance_name,
        bool_or(source_instance_exists) as source_instance_exists,
        count(*) as snapshots,
        sum(size_gib) as size_gib,
        min(created_at) as oldest_at,
        max(created_at) as newest_at
    from living
    group by account, source_instance_id
),

living_then as (
    select
        account,
        image_id,
        max(source_instance_id) as source_instance_id,
        max(size_gib) as size_gib
    from runs
    where is_then
    group by account, image_id
),

sources_then as (
    select
        account,
        source_instance_id,
        sum(size_gib) as size_gib
    from living_then
    group by account, source_instance_id
)

select
    s.account,
    s.source_instance_id,
    coalesce(s.source_instance_name, n.source_instance_name) as source_instance_name,
    s.source_instance_exists,
    cast(s.snapshots as bigint) as snapshots,
    cast(s.size_gib as double) as size_gib,
    cast(s.size_gib as double) * cast($price as double) as cost_per_month,
    s.oldest_at,
    s.newest_at,
    c.us / 3600000000.0 as cadence_hours,
    cast(
        case
            when a.then_n is null then null
            when t.account is null then s.size_gib
            else s.size_gib - t.size_gib
        end as double
    ) as gib_net_30d
from sources as s
inner join accounts as a
    on a.account = s.account
left join lake_source_names as n
    on n.account = s.account
    and n.source_instance_id = s.source_instance_id
    and not s.source_instance_exists
left join cadences as c
    on c.account = s.account
    and c.source_instance_id is not distinct from s.source_instance_id
left join sources_then as t
    on t.account = s.account
    and t.source_instance_id is not distinct from s.source_instance_id
order by s.account, s.source_instance_id
