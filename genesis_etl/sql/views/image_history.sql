-- image_history: how long every row stood.
-- grain: one row per unbroken run of an identical image × region row
-- from: lake_runs; runs that go on in the next capture are one, whichever files they lie in
with spans as (
    select
        account,
        min(first_n) as first_n,
        max(last_n) as last_n,
        sum(last_n - first_n + 1) as captures,
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
    from lake_runs
    group by
        account, image_id, name, type, region, created_at, updated_at, os_type, family, slug, versions,
        size_gib, status, source_instance_id, source_snapshot_id, extra
),

-- images with a row that went and came back; sorting them alone is much cheaper than sorting all
broken as (
    select distinct account, image_id from spans where captures <> last_n - first_n + 1
),

pieces as (
    select
        r.*,
        max(r.last_n) over (
            partition by
                r.account, r.image_id, r.name, r.type, r.region, r.created_at, r.updated_at, r.os_type, r.family,
                r.slug, r.versions, r.size_gib, r.status, r.source_instance_id, r.source_snapshot_id, r.extra
            order by r.first_n, r.last_n
            rows between unbounded preceding and 1 preceding
        ) as reach
    from lake_runs as r
    inner join broken as b
        on b.account = r.account
        and b.image_id = r.image_id
),

numbered as (
    select
        *,
        sum(case when first_n <= reach + 1 then 0 else 1 end) over (
            partition by
                account, image_id, name, type, region, created_at, updated_at, os_type, family, slug, versions,
                size_gib, status, source_instance_id, source_snapshot_id, extra
            order by first_n, last_n
            rows unbounded preceding
        ) as run
    from pieces
),

merged as (
    select
        s.account,
        s.first_n,
        s.last_n,
        s.image_id,
        s.name,
        s.type,
        s.region,
        s.created_at,
        s.updated_at,
        s.os_type,
        s.family,
        s.slug,
        s.versions,
        s.size_gib,
        s.status,
        s.source_instance_id,
        s.source_snapshot_id,
        s.extra
    from spans as s
    left join broken as b
        on b.account = s.account
        and b.image_id = s.image_id
    where b.image_id is null
    union all
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
