-- title: Which region has which images
-- grain: one row per account × type × region
-- window: 90 days
-- parameter account: this account alone
-- parameter region: this region alone
-- parameter type: this type alone
-- parameter newest_of_family = false: only the newest image of each family counts: made last, or at once with the greatest id
-- parameter since: regions observed from here on; else in the $window up to the end
-- parameter until: as it was at this end, nothing later is looked at; else at the account's newest capture
-- column account: short name of the account
-- column type: type of the images
-- column region: region id
-- column images: images of the type in the region at the end of the range
-- column of: images of the type at the end of the range
-- column coverage_pct: images as percentage of those of the type
-- column missing: images of the type that the region lacks; null if it is retired, and for snapshots, which lie where their instance does
-- column missing_names: their names, sorted; null where missing is
-- column first_seen: first capture with an image of the type in the region; null before there is one
-- column is_retired: the region was seen with images and has none of any type at the end of the range
with newest as (
    select
        account,
        least(captured_at, coalesce(cast($until as timestamptz) - interval 1 microsecond, captured_at)) as range_end
    from lake_captures
    where is_newest
        and (cast($account as varchar) is null or account = $account)
),

-- the first capture of the range, null where it holds none, and the last one that is looked at
ranges as (
    select
        c.account,
        min(
            case
                when c.captured_at >= coalesce(
                    cast($since as timestamptz), date_trunc('day', w.range_end) - ($window - 1) * interval 1 day
                ) then c.n
            end
        ) as first_n,
        max(c.n) as end_n
    from lake_captures as c
    inner join newest as w
        on w.account = c.account
    where cast($until as timestamptz) is null or c.captured_at < cast($until as timestamptz)
    group by c.account
),

runs as (
    select
        r.account,
        r.type,
        r.image_id,
        r.name,
        r.family,
        r.created_at,
        r.region,
        r.first_n,
        coalesce(r.last_n >= i.first_n, false) as is_in_range,
        r.last_n >= i.end_n as is_at_end
    from lake_runs as r
    inner join ranges as i
        on i.account = r.account
        and r.first_n <= i.end_n
),

places as (
    select
        account,
        type,
        region,
        min(first_n) as first_n,
        bool_or(is_in_range) as is_in_range,
        bool_or(is_at_end) as is_at_end
    from runs
    where region is not null
    group by account, type, region
),

ever as (
    select
        account,
        region,
        bool_or(is_in_range) as is_in_range,
        not bool_or(is_at_end) as is_retired
    from places
    group by account, region
),

regions as (
    select account, region from ever where is_in_range
    union
    select i.account, e.region
    from ranges as i
    cross join lake_expected_regions as e
),

-- but for the region, all rows of an image are the same in one capture
images_at_end as (
    select distinct account, type, image_id, name, family, created_at
    from runs
    where is_at_end
        and (cast($type as varchar) is null or type = $type)
),

-- an image without a family is its own
images_by_age as (
    select
        *,
        case
            when nullif(family, '') is null then 1
            else row_number() over (partition by account, type, family order by created_at desc, image_id desc)
        end as age
    from images_at_end
),

end_images as (
    select account, type, image_id, name
    from images_by_age
    where not $newest_of_family or age = 1
),

types as (
    select
        account,
        type,
        count(*) as of_type
    from end_images
    group by account, type
),

here as (
    select distinct account, type, image_id, region from runs where is_at_end and region is not null
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
    inner join end_images as n
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
    case
        when c.type <> 'snapshot' and not coalesce(e.is_retired, false) then cast(c.of_type - c.images as bigint)
    end as missing,
    case
        when c.type <> 'snapshot' and not coalesce(e.is_retired, false)
            then coalesce(c.missing_names, cast([] as varchar[]))
    end as missing_names,
    s.captured_at as first_seen,
    coalesce(e.is_retired, false) as is_retired
from counted as c
left join ever as e
    on e.account = c.account
    and e.region = c.region
left join places as p
    on p.account = c.account
    and p.type = c.type
    and p.region = c.region
left join lake_captures as s
    on s.account = p.account
    and s.n = p.first_n
order by c.account, c.type, c.region
