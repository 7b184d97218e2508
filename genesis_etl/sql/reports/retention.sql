-- title: What keeping snapshots for so many days only would free
-- grain: one row per account × $keep
-- parameter account: this account alone
-- parameter keep = 7d,14d,30d,60d,90d,180d,365d: what is older than so many whole days would go, written 30d; may be repeated
-- parameter total = false: all accounts together, account null
-- parameter as_of: as it was then, and ages count from then; else from the account's newest capture
-- parameter price: price of a GiB for a month
-- column account: short name of the account; null with --total
-- column keep: days that snapshots are kept
-- column snapshots: living snapshots that would go: older than that, and a newer one of their instance lives
-- column size_gib: their GiB; unknown sizes are left out, null if no size is known
-- column cost_per_month: size_gib at the price of a GiB-month; null without a price
-- column kept_as_newest: older, but the newest of their instance, so that they stay; of several made at once all
-- column kept_gib: GiB of those
-- Snapshots without an instance are neither freed nor kept; a copy is a snapshot of its own
-- $keep arrives as whole days, sorted, with commas between
with keeps as (
    select cast(days as bigint) as keep
    from (
        select unnest(string_split($keep, ',')) as days
    ) as k
),

accounts as (
    select
        account,
        case when not $total then account end as shown_account,
        coalesce(cast($as_of as timestamptz), captured_at) as counted_at
    from lake_captures
    where is_newest
        and (cast($account as varchar) is null or account = $account)
),

-- but for the region, all rows of an image are the same
living as (
    select
        i.account,
        i.image_id,
        max(i.source_instance_id) as source_instance_id,
        max(i.created_at) as created_at,
        max(cast(i.size_gib as decimal(38, 9))) as size_gib
    from images as i
    inner join accounts as a
        on a.account = i.account
    where i.type = 'snapshot'
        and i.source_instance_id is not null
    group by i.account, i.image_id
),

newest as (
    select
        account,
        source_instance_id,
        max(created_at) as created_at
    from living
    group by account, source_instance_id
),

aged as (
    select
        s.account,
        s.size_gib,
        date_diff('microsecond', s.created_at, a.counted_at) as age,
        s.created_at = n.created_at as is_newest
    from living as s
    inner join newest as n
        on n.account = s.account
        and n.source_instance_id = s.source_instance_id
    inner join accounts as a
        on a.account = s.account
),

counted as (
    select
        a.shown_account as account,
        k.keep,
        count(*) filter (where not g.is_newest) as snapshots,
        sum(g.size_gib) filter (where not g.is_newest) as size_gib,
        count(*) filter (where g.is_newest) as kept_as_newest,
        sum(g.size_gib) filter (where g.is_newest) as kept_gib
    from accounts as a
    cross join keeps as k
    left join aged as g
        on g.account = a.account
        and g.age > k.keep * 86400000000
    group by a.shown_account, k.keep
),

sized as (
    select
        account,
        keep,
        snapshots,
        cast(case when snapshots = 0 then cast(0 as decimal(38, 9)) else size_gib end as double) as size_gib,
        kept_as_newest,
        cast(case when kept_as_newest = 0 then cast(0 as decimal(38, 9)) else kept_gib end as double) as kept_gib
    from counted
)

select
    account,
    keep,
    cast(snapshots as bigint) as snapshots,
    size_gib,
    size_gib * cast($price as double) as cost_per_month,
    cast(kept_as_newest as bigint) as kept_as_newest,
    kept_gib
from sized
order by account, keep
