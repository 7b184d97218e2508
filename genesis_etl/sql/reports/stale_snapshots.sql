-- title: Snapshots that grow old
-- grain: one row per account × living snapshot older than $older_than
-- parameter account: this account alone
-- parameter region: snapshots of this region alone; (none) for those without one
-- parameter older_than = 90d: snapshots older than this, written 0s, 30m, 2h, 7d
-- parameter as_of: as it was then, and ages count from then; else from the account's newest capture
-- parameter price: price of a GiB for a month
-- column account: short name of the account
-- column image_id: id of the snapshot
-- column name: display name
-- column created_at: when the snapshot was made
-- column age_days: whole days since then
-- column size_gib: size in GiB; null if it is not known
-- column cost_per_month: size_gib at the price of a GiB-month; null without a price
-- column regions: its regions, sorted
-- column source_instance_id: instance it was taken from
-- column source_instance_name: its name; of one that is gone the last known one, null if none is known
-- column source_instance_exists: whether that instance exists; null without one, or where it could not be read
-- column copies: living snapshots that are copies of this one
-- column is_newest_of_source: no living snapshot of its instance is newer, so of several made at once all; null without an instance
-- $older_than arrives in microseconds
with rows_now as (
    select
        i.*,
        coalesce(cast($as_of as timestamptz), i.captured_at) as counted_at
    from images as i
    where i.type = 'snapshot'
        and (cast($account as varchar) is null or i.account = $account)
),

-- but for the region, all rows of an image are the same
living as (
    select
        account,
        image_id,
        max(name) as name,
        max(created_at) as created_at,
        date_diff('microsecond', max(created_at), max(counted_at)) as age,
        max(size_gib) as size_gib,
        list_sort(list(distinct region) filter (where region is not null)) as regions,
        max(source_instance_id) as source_instance_id,
        max(source_instance_name) as source_instance_name,
        bool_or(source_instance_exists) as source_instance_exists,
        max(source_snapshot_id) as source_snapshot_id,
        bool_or(coalesce(region, '(none)') = $region) as is_in_region
    from rows_now
    group by account, image_id
),

copied as (
    select
        account,
        source_snapshot_id,
        count(*) as copies
    from living
    where source_snapshot_id is not null
    group by account, source_snapshot_id
),

newest as (
    select
        account,
        source_instance_id,
        max(created_at) as created_at
    from living
    where source_instance_id is not null
    group by account, source_instance_id
)

select
    r.account,
    r.image_id,
    r.name,
    r.created_at,
    cast(r.age // 86400000000 as bigint) as age_days,
    r.size_gib,
    r.size_gib * cast($price as double) as cost_per_month,
    coalesce(r.regions, cast([] as varchar[])) as regions,
    r.source_instance_id,
    coalesce(r.source_instance_name, l.source_instance_name) as source_instance_name,
    r.source_instance_exists,
    cast(coalesce(c.copies, 0) as bigint) as copies,
    r.created_at = n.created_at as is_newest_of_source
from living as r
left join newest as n
    on n.account = r.account
    and n.source_instance_id = r.source_instance_id
left join lake_source_names as l
    on l.account = r.account
    and l.source_instance_id = r.source_instance_id
    and not r.source_instance_exists
left join copied as c
    on c.account = r.account
    and c.source_snapshot_id = r.image_id
where r.age > cast($older_than as bigint)
    and (cast($region as varchar) is null or r.is_in_region)
order by r.account, r.created_at, r.image_id
