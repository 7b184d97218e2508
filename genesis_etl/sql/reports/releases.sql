-- title: Which release reached which region, and when
-- grain: one row per account × image × region, snapshots left out
-- window: 90 days
-- parameter account: this account alone
-- parameter region: this region alone
-- parameter type: this type alone
-- parameter since: regions observed from here on; else in the $window up to the end
-- parameter until: as it was at this end, nothing later is looked at; else at the account's newest capture
-- column account: short name of the account
-- column type: type of the image
-- column image_id: id of the image, which lives at the end of the range
-- column region: region id; every one that region-coverage counts
-- column name: display name
-- column family: family of the image
-- column is_newest_of_family: no image of its type and family was made later, or at once with a greater id; true without a family
-- column created_at: when the image was made
-- column released_at: first capture with the image in any region; null for an image of the account's first capture
-- column reached_at: first capture with the image in this region; null before it came and where the first capture had it
-- column days_to_region: days from released_at to reached_at; null where either is
-- column is_missing: the image is not in the region at the end of the range; null for a retired region
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

ever as (
    select
        account,
        region,
        bool_or(is_in_range) as is_in_range,
        not bool_or(is_at_end) as is_retired
    from runs
    where region is not null
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
end_images as (
    select distinct account, type, image_id, name, family, created_at
    from runs
    where is_at_end
        and type <> 'snapshot'
),

images_of_families as (
    select
        *,
        nullif(family, '') is null or row_number() over (
            partition by account, type, family
            order by created_at desc, image_id desc
        ) = 1 as is_newest_of_family
    from end_images
),

released as (
    select
        r.account,
        r.image_id,
        min(r.first_n) as first_n,
        min(case when r.region is not null then r.first_n end) as released_n
    from runs as r
    group by r.account, r.image_id
),

reached as (
    select
        account,
        image_id,
        region,
        min(first_n) as reached_n,
        bool_or(is_at_end) as is_here
    from runs
    where region is not null
    group by account, image_id, region
)

select
    e.account,
    e.type,
    e.image_id,
    r.region,
    e.name,
    e.family,
    e.is_newest_of_family,
    e.created_at,
    l.captured_at as released_at,
    h.captured_at as reached_at,
    cast(date_diff('microsecond', l.captured_at, h.captured_at) as double) / 86400000000.0 as days_to_region,
    case when not coalesce(v.is_retired, false) then not coalesce(p.is_here, false) end as is_missing
from images_of_families as e
inner join regions as r
    on r.account = e.account
inner join released as s
    on s.account = e.account
    and s.image_id = e.image_id
left join reached as p
    on p.account = e.account
    and p.image_id = e.image_id
    and p.region = r.region
left join ever as v
    on v.account = e.account
    and v.region = r.region
left join lake_captures as l
    on l.account = e.account
    and l.n = s.released_n
    and s.first_n > 1
left join lake_captures as h
    on h.account = e.account
    and h.n = p.reached_n
    and p.reached_n > 1
where (cast($region as varchar) is null or r.region = $region)
    and (cast($type as varchar) is null or e.type = $type)
order by e.account, e.type, e.name, e.image_id, r.region
