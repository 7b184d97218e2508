-- image_history: how long every row stood.
-- grain: one row per unbroken run of an identical image × region row
-- from: lake_runs; runs that go on in the next capture are one, whichever files they lie in
with linked as (
    select
        *,
        lag(last_n) over (
            partition by
                account, image_id, name, type, region, created_at, updated_at, os_type, family, slug, versions,
                size_gib, status, source_instance_id, source_snapshot_id, extra
            order by first_n
        ) as previous_n
    from lake_runs
),

numbered as (
    select
        *,
        sum(case when first_n = previous_n + 1 then 0 else 1 end) over (
            partition by
                account, image_id, name, type, region, created_at, updated_at, os_type, family, slug, versions,
                size_gib, status, source_instance_id, source_snapshot_id, extra
            order by first_n
            rows unbounded preceding
        ) as run
    from linked
),

merged as (
    select
        account,
        min(first_n) as first_n,
        max(last_n) as last_n,
        image_id,
        name,
        type,
        region,
        created_at,
        updated_at,
        os_type,
        family,
        slug,
        versions,
        size_gib,
        status,
        source_instance_id,
        source_snapshot_id,
        extra
    from numbered
    group by
        account, image_id, name, type, region, created_at, updated_at, os_type, family, slug, versions,
        size_gib, status, source_instance_id, source_snapshot_id, extra, run
)

select
    m.account,
    f.captured_at as first_seen,
    l.captured_at as last_seen,
    g.captured_at as gone_at,
    m.image_id,
    m.name,
    m.type,
    m.region,
    m.created_at,
    m.updated_at,
    m.os_type,
    m.family,
    m.slug,
    m.versions,
    m.size_gib,
    m.status,
    m.source_instance_id,
    m.source_snapshot_id,
    m.extra
from merged as m
inner join lake_captures as f
    on f.account = m.account
    and f.n = m.first_n
inner join lake_captures as l
    on l.account = m.account
    and l.n = m.last_n
left join lake_captures as g
    on g.account = m.account
    and g.n = m.last_n + 1
