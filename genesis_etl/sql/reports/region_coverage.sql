-- title: Which region has which images
-- grain: one row per account × type × region
-- parameter account: this account alone
-- parameter region: this region alone
-- parameter type: this type alone
-- parameter since: regions observed from here on
-- parameter until: regions observed before this end
-- column account: short name of the account
-- column type: type of the images
-- column region: region id
-- column images: images of the type in the region now
-- column of: images of the type now
-- column coverage_pct: images as percentage of those of the type
-- column missing: images of the type that the region lacks; null if it is retired
-- column missing_names: their names, sorted; null if the region is retired
-- column first_seen: first capture with an image of the type in the region; null before there is one
-- column is_retired: the region was seen with images and has none of any type now
with newest as (
    select
        account,
        captured_at as newest_at,
        least(captured_at, coalesce(cast($until as timestamptz) - interval 1 microsecond, captured_at)) as range_end
    from lake_captures
    where is_newest
        and (cast($account as varchar) is null or account = $account)
),

in_range as (
    select
        c.account,
        min(c.n) as first_n,
        max(c.n) as last_n
    from lake_captures as c
    inner join newest as w
        on w.account = c.account
    where c.captured_at >= coalesce(
            cast($since as timestamptz), date_trunc('day', w.range_end) - interval 89 day
        )
        and (cast($until as timestamptz) is null or c.captured_at < cast($until as timestamptz))
    group by c.account
),

observed as (
    select distinct
        r.account,
        r.region
    from lake_runs as r
    inner join in_range as i
        on i.account = r.account
        and r.last_n >= i.first_n
        and r.first_n <= i.last_n
    where r.region is not null
),

regions as (
    select account, region from observed
    union
    select w.account, e.region
    from newest as w
    cross join lake_expected_regions as e
),

seen as (
    select
        r.account,
        r.type,
        r.region,
        min(c.captured_at) as first_seen
    from lake_runs as r
    inner join lake_captures as c
        on c.account = r.account
        and c.n = r.first_n
    where r.region is not null
    group by r.account, r.type, r.region
),

ever as (
    select distinct account, region from seen
),

now_images as (
    select distinct
        i.account,
        i.type,
        i.image_id,
        i.name
    from images as i
    inner join newest as w
        on w.account = i.account
    where cast($type as varchar) is null or i.type = $type
),

types as (
    select
        account,
        type,
        count(*) as of_type
    from now_images
    group by account, type
),

here as (
    select distinct account, type, image_id, region from images where region is not null
),

alive as (
    select distinct account, region from here
),

pairs as (
    select
        t.account,
        t.type,
        r.region,
        n.image_id,
        n.name,
        t.of_type,
        h.image_id is not null as is_here
    from types as t
    inner join regions as r
        on r.account = t.account
    inner join now_images as n
        on n.account = t.account
        and n.type = t.type
    left join here as h
        on h.account = n.account
        and h.type = n.type
        and h.image_id = n.image_id
        and h.region = r.region
    where cast($region as varchar) is null or r.region = $region
),

counted as (
    select
        account,
        type,
        region,
        max(of_type) as of_type,
        sum(case when is_here then 1 else 0 end) as images,
        list_sort(list(name) filter (where not is_here)) as missing_names
    from pairs
    group by account, type, region
)

select
    c.account,
    c.type,
    c.region,
    cast(c.images as bigint) as images,
    cast(c.of_type as bigint) as "of",
    100.0 * cast(c.images as double) / cast(c.of_type as double) as coverage_pct,
    case when a.region is null and e.region is not null then null
        else cast(c.of_type - c.images as bigint) end as missing,
    case when a.region is null and e.region is not null then null
        else coalesce(c.missing_names, cast([] as varchar[])) end as missing_names,
    s.first_seen,
    a.region is null and e.region is not null as is_retired
from counted as c
left join alive as a
    on a.account = c.account
    and a.region = c.region
left join ever as e
    on e.account = c.account
    and e.region = c.region
left join seen as s
    on s.account = c.account
    and s.type = c.type
    and s.region = c.region
order by c.account, c.type, c.region
