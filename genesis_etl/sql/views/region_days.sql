-- region_days: how many images there were where, day by day.
-- grain: one row per account × UTC day × type × region, from the account's first capture to its newest
-- from: lake_runs; a day shows what its last capture holds, a day without one the level before (basis gap)
-- region is null for the total, in which an image of several regions counts once; (none) for images without one
-- from the day that a type × region is first seen on there is a row for every day, 0 where none are left
-- GiB are summed as decimals, so that no order of the rows changes a sum
with days as (
    select
        account,
        cast(captured_at as date) as day
    from lake_captures
    group by account, cast(captured_at as date)
),

spans as (
    select
        account,
        max(day) as last_day
    from days
    group by account
),

-- an image comes to a region on the day of a run's first capture, and goes on that of the first one after it
turns as (
    select r.account, r.type, r.region, r.image_id, r.size_gib, cast(c.captured_at as date) as day, 1 as turn
    from lake_runs as r
    inner join lake_captures as c
        on c.account = r.account
        and c.n = r.first_n
    union all
    select r.account, r.type, r.region, r.image_id, r.size_gib, cast(c.captured_at as date) as day, -1 as turn
    from lake_runs as r
    inner join lake_captures as c
        on c.account = r.account
        and c.n = r.last_n + 1
),

by_image as (
    select account, type, image_id, size_gib, day, sum(turn) as turn
    from turns
    group by account, type, image_id, size_gib, day
),

-- in how many regions an image is at the end of a day
depths as (
    select
        account,
        type,
        size_gib,
        day,
        turn,
        sum(turn) over (
            partition by account, type, image_id, size_gib
            order by day
            rows unbounded preceding
        ) as depth
    from by_image
),

steps as (
    select account, type, coalesce(region, '(none)') as region, size_gib, day, turn
    from turns
    union all
    select
        account,
        type,
        cast(null as varchar) as region,
        size_gib,
        day,
        case when depth = 0 then -1 else 1 end as turn
    from depths
    where (depth = 0) <> (depth = turn)
),

moves as (
    select
        account,
        type,
        region,
        day,
        sum(turn) as images,
        sum(case when size_gib is not null then turn else 0 end) as sized,
        sum(case when turn = 1 then gib else -gib end) as gib
    from (
        select *, cast(coalesce(size_gib, 0) as decimal(38, 9)) as gib from steps
    ) as s
    group by account, type, region, day
),

scopes as (
    select account, type, coalesce(region, '(none)') as region, min(day) as first_day
    from turns
    where turn = 1
    group by account, type, coalesce(region, '(none)')
    union all
    select account, type, cast(null as varchar) as region, min(day) as first_day
    from turns
    where turn = 1
    group by account, type
),

levels as (
    select
        o.account,
        d.day,
        o.type,
        o.region,
        sum(coalesce(m.images, 0)) over running as images,
        sum(coalesce(m.sized, 0)) over running as sized,
        sum(coalesce(m.gib, 0)) over running as gib
    from scopes as o
    inner join spans as s
        on s.account = o.account
    inner join lake_calendar as d
        on d.day between o.first_day and s.last_day
    left join moves as m
        on m.account = o.account
        and m.type = o.type
        and m.region is not distinct from o.region
        and m.day = d.day
    window running as (partition by o.account, o.type, o.region order by d.day rows unbounded preceding)
)

select
    l.account,
    l.day,
    l.type,
    l.region,
    cast(l.images as bigint) as images,
    case
        when l.images = 0 then cast(0 as double)
        when l.sized > 0 then cast(cast(l.gib as decimal(38, 9)) as double)
    end as size_gib,
    case when d.day is null then 'gap' else 'observed' end as basis
from levels as l
left join days as d
    on d.account = l.account
    and d.day = l.day
