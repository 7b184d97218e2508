-- orphans: the snapshots whose instance is gone, in the newest capture of every account, for `metrics` and for `check`.
-- grain: one row per account whose newest capture could read /instances
-- from: images, captures; GiB are summed as decimals, null where there are orphans and the size of none is known
with newest as (
    select account, capture_id
    from captures
    qualify row_number() over (partition by account order by captured_at desc, capture_id desc) = 1
        and instances is not null
),

orphaned as (
    select distinct account, image_id, size_gib
    from images
    where type = 'snapshot'
        and not source_instance_exists
)

select
    n.account,
    count(o.image_id) as snapshots,
    count(o.image_id) - count(o.size_gib) as unsized,
    case
        when count(o.image_id) = 0 then 0.0
        else cast(sum(cast(o.size_gib as decimal(38, 9))) as double)
    end as gib
from newest as n
left join orphaned as o
    on o.account = n.account
group by n.account
order by n.account
