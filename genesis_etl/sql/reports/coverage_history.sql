-- title: How coverage became what it is
-- grain: one row per account × period × type × region, snapshots left out
-- window: 90 whole days, 13 whole weeks, 12 whole months
-- parameter account: this account alone
-- parameter region: this region alone
-- parameter type: this type alone
-- parameter since: from here on; a period that overlaps the range is shown whole
-- parameter until: up to this end; a period that overlaps the range is shown whole
-- parameter by = day: length of a period, day, week (from Monday) or month
-- column account: short name of the account
-- column period: first day of the period, UTC; none lies before the account's first capture
-- column type: type of the images; every one that the range has seen
-- column region: region id; every one that the range has seen or the settings expect, retired ones at 0
-- column images: images of the type in the region, in the period's last capture
-- column of: images of the type in that capture
-- column coverage_pct: images as percentage of those of the type; null where there are none
-- column basis: observed; gap, a period without a capture, at the level before
with accounts as (
    select
        account,
        cast(date_trunc($by, min(captured_at)) as date) as first_period,
        cast(date_trunc($by, max(captured_at)) as date) as newest_period,
        max(cast(captured_at as date)) as newest_day
    from lake_captures
    where cast($account as varchar) is null or account = $account
    group by account
),

captured as (
    select
        account,
        cast(date_trunc($by, captured_at) as date) as period,
        min(n) as first_n,
        max(n) as last_n
    from lake_captures
    group by account, cast(date_trunc($by, captured_at) as date)
),

-- every period that has captures or lies between two
levels as (
    select
        a.account,
        p.period,
        p.first_day,
        p.last_day,
        least(p.last_day, a.newest_day) as level_day,
        c.first_n,
        max(c.last_n) over (partition by a.account order by p.period rows unbounded preceding) as last_n
    from accounts as a
    inner join lake_periods as p
        on p.length = $by
        and p.period between a.first_period and a.newest_period
    left join captured as c
        on c.account = a.account
        and c.period = p.period
),

numbered_periods as (
    select
        *,
        row_number() over (partition by account order by period desc) as age
    from levels
    where cast($until as timestamptz) is null
        or cast(first_day as timestamp) < cast(cast($until as timestamptz) as timestamp)
),

shown as (
    select *
    from numbered_periods
    where case
            when cast($since as timestamptz) is null then age <= $window
            else cast(last_day as timestamp) + interval 1 day > cast(cast($since as timestamptz) as timestamp)
        end
),

-- the captures that the range looks at; one that begins in a gap looks at the level before it
ranges as (
    select
        account,
        min(coalesce(first_n, last_n)) as first_n,
        max(last_n) as last_n
    from shown
    group by account
),

seen as (
    select distinct
        r.account,
        r.type,
        r.region
    from lake_runs as r
    inner join ranges as i
        on i.account = r.account
        and r.first_n <= i.last_n
        and r.last_n >= i.first_n
),

types as (
    select distinct account, type
    from seen
    where type <> 'snapshot'
        and (cast($type as varchar) is null or type = $type)
),

regions as (
    select account, region from seen where region is not null
    union
    select i.account, e.region
    from ranges as i
    cross join lake_expected_regions as e
),

days as (
    select account, day, type, region, images
    from region_days
    where type <> 'snapshot'
)

select
    s.account,
    s.period,
    t.type,
    r.region,
    coalesce(h.images, 0) as images,
    coalesce(o.images, 0) as "of",
    100.0 * cast(coalesce(h.images, 0) as double) / cast(nullif(o.images, 0) as double) as coverage_pct,
    case when s.first_n is null then 'gap' else 'observed' end as basis
from shown as s
inner join types as t
    on t.account = s.account
inner join regions as r
    on r.account = s.account
left join days as h
    on h.account = s.account
    and h.day = s.level_day
    and h.type = t.type
    and h.region = r.region
left join days as o
    on o.account = s.account
    and o.day = s.level_day
    and o.type = t.type
    and o.region is null
where cast($region as varchar) is null or r.region = $region
order by s.account, s.period, t.type, r.region
