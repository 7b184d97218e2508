-- title: What the snapshots used, in GiB-months
-- grain: one row per account × period; × region where a region or $per_region asks, × instance with $per_source
-- window: 90 whole days, 13 whole weeks, 12 whole months
-- parameter account: this account alone
-- parameter region: this region alone, as region rows
-- parameter per_region = false: region rows instead of totals
-- parameter per_source = false: rows per source instance, where it had a snapshot
-- parameter total = false: all accounts together, account null
-- parameter since: from here on; a period that overlaps the range is shown whole
-- parameter until: up to this end; a period that overlaps the range is shown whole
-- parameter by = month: length of a period, day, week (from Monday) or month
-- parameter price: price of a GiB for a month
-- column account: short name of the account; null with --total
-- column period: first day of the period, UTC; none lies before the account's first capture
-- column region: region id, (none) for snapshots without one; null in totals
-- column source_instance_id: with --per-source the instance that the snapshots were taken from, null without one
-- column gib_months: size × time, each calendar month's part by that month's own length; unknown sizes are left out, null if no size is known
-- column cost: gib_months at the price of a GiB-month; null without a price
-- column snapshots: snapshots that were there at any time in the period
-- column basis: observed; gap, a period without a capture, at the level before; partial, that of the first capture: what was there earlier in it is not counted
-- column is_complete: the period lies before that of the newest capture
-- What a capture holds stands until the next one, up to the newest. An image of several regions counts once in a total and
-- whole in each of its regions. GiB × time are summed as decimals, so that no order of the rows changes a sum
with accounts as (
    select
        account,
        case when not $total then account end as shown_account,
        min(captured_at) as first_at,
        max(captured_at) as newest_at
    from lake_captures
    where cast($account as varchar) is null or account = $account
    group by account
),

-- the runs of the snapshots, in the scope that a row of the report has
counted as (
    select
        r.account,
        case when $per_region or cast($region as varchar) is not null then coalesce(r.region, '(none)') end as region,
        case when $per_source then r.source_instance_id end as source_instance_id,
        r.image_id,
        cast(r.size_gib as decimal(26, 9)) as size_gib,
        r.first_n,
        r.last_n
    from lake_runs as r
    inner join accounts as a
        on a.account = r.account
    where r.type = 'snapshot'
        and (cast($region as varchar) is null or coalesce(r.region, '(none)') = $region)
),

-- a row comes where a run begins and goes after its end
turns as (
    select * exclude (first_n, last_n), first_n as n, 1 as turn from counted
    union all
    select * exclude (first_n, last_n), last_n + 1 as n, -1 as turn from counted
),

-- where one run goes on in the next, both cancel out
turned as (
    select * exclude (turn), sum(turn) as turn
    from turns
    group by all
    having sum(turn) <> 0
),

-- in how many rows a snapshot stands, at one size
depths as (
    select
        *,
        sum(turn) over (
            partition by account, region, source_instance_id, image_id, size_gib
            order by n
            rows unbounded preceding
        ) as depth
    from turned
),

edges as (
    select
        account,
        region,
        source_instance_id,
        image_id,
        size_gib,
        n,
        depth,
        lead(n) over (partition by account, region, source_instance_id, image_id, size_gib order by n) as end_n
    from depths
    where (depth = 0) <> (depth = turn)
),

-- how long a snapshot stood, in microseconds: until the capture that no longer holds it so, or until the newest; and
-- when the last capture saw it so, the same moment where two captures share one
stays as (
    select
        e.account,
        a.shown_account,
        e.region,
        e.source_instance_id,
        e.image_id,
        e.size_gib,
        date_diff('microsecond', cast('1970-01-01' as timestamptz), b.captured_at) as begin_us,
        date_diff('microsecond', cast('1970-01-01' as timestamptz), coalesce(g.captured_at, a.newest_at)) as end_us,
        date_diff('microsecond', cast('1970-01-01' as timestamptz), l.captured_at) as last_us,
        year(b.captured_at) * 12 + month(b.captured_at) as begin_month,
        year(coalesce(g.captured_at, a.newest_at)) * 12 + month(coalesce(g.captured_at, a.newest_at)) as end_month
    from edges as e
    inner join accounts as a
        on a.account = e.account
    inner join lake_captures as b
        on b.account = e.account
        and b.n = e.n
    inner join lake_captures as l
        on l.account = e.account
        and l.n = e.end_n - 1
    left join lake_captures as g
        on g.account = e.account
        and g.n = e.end_n
    where e.depth > 0
),

months as (
    select
        cast(date_trunc('month', cast(day as timestamp)) as date) as month,
        count(*) * 86400 as seconds
    from lake_calendar
    group by cast(date_trunc('month', cast(day as timestamp)) as date)
),

-- each period, cut where a month ends
pieces as (
    select
        cast(date_trunc($by, cast(day as timestamp)) as date) as period,
        cast(date_trunc('month', cast(day as timestamp)) as date) as month,
        max(year(day) * 12 + month(day)) as month_number,
        date_diff('day', cast('1970-01-01' as date), min(day)) * 86400000000 as begin_us,
        (date_diff('day', cast('1970-01-01' as date), max(day)) + 1) * 86400000000 as end_us
    from lake_calendar
    group by
        cast(date_trunc($by, cast(day as timestamp)) as date),
        cast(date_trunc('month', cast(day as timestamp)) as date)
),

spans as (
    select
        shown_account as account,
        cast(date_trunc($by, min(first_at)) as date) as first_period,
        cast(date_trunc($by, max(first_at)) as date) as all_period,
        cast(date_trunc($by, max(newest_at)) as date) as newest_period
    from accounts
    group by shown_account
),

numbered_periods as (
    select
        s.*,
        p.period,
        p.last_day,
        row_number() over (partition by s.account order by p.period desc) as age
    from spans as s
    inner join lake_periods as p
        on p.length = $by
        and p.period between s.first_period and s.newest_period
    where cast($until as timestamptz) is null
        or cast(p.first_day as timestamp) < cast(cast($until as timestamptz) as timestamp)
),

captured as (
    select distinct
        a.shown_account as account,
        cast(date_trunc($by, c.captured_at) as date) as period
    from lake_captures as c
    inner join accounts as a
        on a.account = c.account
),

shown as (
    select
        p.account,
        p.period,
        case
            when p.period <= p.all_period then 'partial'
            when c.period is null then 'gap'
            else 'observed'
        end as basis,
        p.period < p.newest_period as is_complete
    from numbered_periods as p
    left join captured as c
        on c.account is not distinct from p.account
        and c.period = p.period
    where case
            when cast($since as timestamptz) is null then p.age <= $window
            else cast(p.last_day as timestamp) + interval 1 day > cast(cast($since as timestamptz) as timestamp)
        end
),

-- a stay in each of its months, so that pieces are found by an equality
walked as (
    select *, unnest(generate_series(begin_month, end_month)) as month_number from stays
),

-- a capture is a moment: what it holds was there, though it took no time
parts as (
    select
        s.account as of_account,
        h.account,
        s.region,
        s.source_instance_id,
        h.period,
        p.month,
        s.image_id,
        s.size_gib,
        least(s.end_us, p.end_us) - greatest(s.begin_us, p.begin_us) as us
    from shown as h
    inner join pieces as p
        on p.period = h.period
    inner join walked as s
        on s.month_number = p.month_number
        and s.shown_account is not distinct from h.account
        and s.begin_us < p.end_us
        and (s.end_us > p.begin_us or s.last_us >= p.begin_us)
),

sums as (
    select
        account,
        region,
        source_instance_id,
        period,
        month,
        cast(sum(size_gib * cast(us // 1000000 as decimal(7, 0))) as double) as gib_seconds,
        cast(sum(size_gib * cast(us % 1000000 as decimal(6, 0))) as double) as gib_us
    from parts
    group by account, region, source_instance_id, period, month
),

used as (
    select
        s.account,
        s.region,
        s.source_instance_id,
        s.period,
        sum((s.gib_seconds + s.gib_us / 1000000.0) / cast(m.seconds as double)) as gib_months
    from sums as s
    inner join months as m
        on m.month = s.month
    group by s.account, s.region, s.source_instance_id, s.period
),

there as (
    select distinct of_account, account, region, source_instance_id, period, image_id from parts
),

counts as (
    select
        account,
        region,
        source_instance_id,
        period,
        count(*) as snapshots
    from there
    group by account, region, source_instance_id, period
),

scopes as (
    select distinct
        a.shown_account as account,
        c.region,
        cast(null as varchar) as source_instance_id
    from counted as c
    inner join accounts as a
        on a.account = c.account
    where not $per_source
    union
    select account, cast(null as varchar) as region, cast(null as varchar) as source_instance_id
    from spans
    where not $per_source and not $per_region and cast($region as varchar) is null
),

cells as (
    select h.account, h.period, s.region, s.source_instance_id
    from shown as h
    inner join scopes as s
        on s.account is not distinct from h.account
    union
    select account, period, region, source_instance_id from counts
)

select
    e.account,
    e.period,
    e.region,
    e.source_instance_id,
    case when c.snapshots is null then cast(0 as double) else round(u.gib_months, 9) end as gib_months,
    case when c.snapshots is null then cast(0 as double) else round(u.gib_months, 9) end * cast($price as double) as cost,
    cast(coalesce(c.snapshots, 0) as bigint) as snapshots,
    h.basis,
    h.is_complete
from cells as e
inner join shown as h
    on h.account is not distinct from e.account
    and h.period = e.period
left join counts as c
    on c.account is not distinct from e.account
    and c.period = e.period
    and c.region is not distinct from e.region
    and c.source_instance_id is not distinct from e.source_instance_id
left join used as u
    on u.account is not distinct from e.account
    and u.period = e.period
    and u.region is not distinct from e.region
    and u.source_instance_id is not distinct from e.source_instance_id
order by e.account, e.period, e.region, e.source_instance_id
