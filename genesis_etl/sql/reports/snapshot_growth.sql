-- title: Growth of the snapshots
-- grain: one row per account × period; per account × period × region where a region or $per_region asks
-- window: 90 whole days, 13 whole weeks, 12 whole months
-- parameter account: this account alone
-- parameter region: this region alone, as region rows
-- parameter per_region = false: region rows instead of totals
-- parameter total = false: all accounts together, account null
-- parameter type = snapshot: the type of image that is counted
-- parameter since: from here on; a period that overlaps the range is shown whole
-- parameter until: up to this end; a period that overlaps the range is shown whole
-- parameter by = day: length of a period, day, week (from Monday) or month
-- parameter price: price of a GiB for a month
-- column account: short name of the account; null with --total
-- column period: first day of the period, UTC
-- column region: region id, (none) for snapshots without one; null in totals
-- column opening: snapshots before the period, the closing of the one before
-- column created: snapshots that came in the period
-- column deleted: snapshots that went in the period
-- column closing: snapshots in the period's last capture
-- column net: created less deleted
-- column growth_pct: net as percentage of opening; null at opening 0 and where basis is partial
-- column gib_closing: GiB of the closing snapshots whose size is known; null if no size is
-- column gib_net: change of gib_closing against the period before
-- column cost_per_month: gib_closing at the price of a GiB-month; null without a price
-- column basis: observed; gap, a period without a capture; partial, that of the first capture: what went before it is unknown; created_at, before it: a lower bound; forecast
-- column is_complete: the period lies before that of the newest capture; false for a forecast
-- In a total an account keeps its level after its newest capture; a period is partial until that of every account's first
-- capture is over, and a gap where none has one. GiB are summed as decimals, so that no order of the rows changes a sum
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

-- the runs of the images that count
counted as (
    select
        r.account,
        r.region,
        r.image_id,
        cast(r.size_gib as decimal(38, 9)) as size_gib,
        r.created_at,
        r.first_n,
        r.last_n
    from lake_runs as r
    inner join accounts as a
        on a.account = r.account
    where r.type = $type
        and (cast($region as varchar) is null or coalesce(r.region, '(none)') = $region)
),

-- runs of one region never overlap, so their lengths tell whether they are one; most are
spans as (
    select
        account,
        region,
        image_id,
        size_gib,
        min(case when first_n = 1 then created_at end) as created_at,
        min(first_n) as first_n,
        max(last_n) as last_n,
        sum(last_n - first_n + 1) as captures
    from counted
    group by account, region, image_id, size_gib
),

broken as (
    select distinct account, image_id from spans where captures <> last_n - first_n + 1
),

joined as (
    select s.account, s.region, s.image_id, s.size_gib, s.created_at, s.first_n, s.last_n
    from spans as s
    left join broken as b
        on b.account = s.account
        and b.image_id = s.image_id
    where b.image_id is null
    union all
    select c.account, c.region, c.image_id, c.size_gib, c.created_at, c.first_n, c.last_n
    from counted as c
    inner join broken as b
        on b.account = c.account
        and b.image_id = c.image_id
),

-- in the scope that a row of the report has; where regions do not count, their runs are often the same, and are one
scoped as (
    select
        account,
        case when $per_region or cast($region as varchar) is not null then coalesce(region, '(none)') end as region,
        image_id,
        size_gib,
        min(created_at) as created_at,
        first_n,
        last_n
    from joined
    group by
        account,
        case when $per_region or cast($region as varchar) is not null then coalesce(region, '(none)') end,
        image_id, size_gib, first_n, last_n
),

sized_reach as (
    select
        *,
        max(last_n) over (
            partition by account, region, image_id, size_gib
            order by first_n, last_n
            rows between unbounded preceding and 1 preceding
        ) as reach
    from scoped
),

sized_islands as (
    select
        *,
        sum(case when first_n <= reach + 1 then 0 else 1 end) over (
            partition by account, region, image_id, size_gib
            order by first_n, last_n
            rows unbounded preceding
        ) as island
    from sized_reach
),

-- an unbroken sequence of captures that hold the image at one size
sizes as (
    select
        account,
        region,
        image_id,
        size_gib,
        min(first_n) as first_n,
        max(last_n) as last_n,
        min(case when first_n = 1 then created_at end) as created_at
    from sized_islands
    group by account, region, image_id, size_gib, island
),

presence_reach as (
    select
        *,
        max(last_n) over (
            partition by account, region, image_id
            order by first_n, last_n, size_gib
            rows between unbounded preceding and 1 preceding
        ) as reach
    from sizes
),

presence_islands as (
    select
        *,
        sum(case when first_n <= reach + 1 then 0 else 1 end) over (
            partition by account, region, image_id
            order by first_n, last_n, size_gib
            rows unbounded preceding
        ) as island
    from presence_reach
),

-- an unbroken sequence of captures that hold the image
presences as (
    select
        account,
        region,
        min(first_n) as first_n,
        max(last_n) as last_n,
        min(created_at) as created_at
    from presence_islands
    group by account, region, image_id, island
),

came as (
    select account, region, first_n as n, created_at, 1 as images, 0 as sized, 0 as gib from presences
    union all
    select account, region, first_n, created_at, 0, 1, size_gib from sizes where size_gib is not null
),

went as (
    select account, region, last_n + 1 as n, 1 as images, 0 as sized, 0 as gib from presences
    union all
    select account, region, last_n + 1, 0, 1, size_gib from sizes where size_gib is not null
),

-- what the first capture holds came when it was created, everything else when it was first seen
events as (
    select
        e.account,
        e.region,
        case when e.n = 1 then least(e.created_at, c.captured_at) else c.captured_at end as moment,
        e.images as created,
        0 as deleted,
        e.sized as sized,
        e.gib as gib
    from came as e
    inner join lake_captures as c
        on c.account = e.account
        and c.n = e.n
    union all
    select
        e.account,
        e.region,
        c.captured_at as moment,
        0 as created,
        e.images as deleted,
        -e.sized as sized,
        -e.gib as gib
    from went as e
    inner join lake_captures as c
        on c.account = e.account
        and c.n = e.n
),

moves as (
    select
        a.shown_account as account,
        e.region,
        cast(date_trunc($by, e.moment) as date) as period,
        sum(e.created) as created,
        sum(e.deleted) as deleted,
        sum(e.sized) as sized,
        sum(e.gib) as gib
    from events as e
    inner join accounts as a
        on a.account = e.account
    group by a.shown_account, e.region, cast(date_trunc($by, e.moment) as date)
),

-- whatever was there came once, so every region has a move
scopes as (
    select account, region from moves
    union
    select shown_account as account, cast(null as varchar) as region
    from accounts
    where not $per_region and cast($region as varchar) is null
),

captured as (
    select distinct
        a.shown_account as account,
        cast(date_trunc($by, c.captured_at) as date) as period
    from lake_captures as c
    inner join accounts as a
        on a.account = c.account
),

ends as (
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
        e.*,
        p.period,
        p.last_day,
        row_number() over (partition by e.account order by p.period desc) as age
    from ends as e
    inner join lake_periods as p
        on p.length = $by
        and p.period <= e.newest_period
    where (
            cast($until as timestamptz) is null
            or cast(p.first_day as timestamp) < cast(cast($until as timestamptz) as timestamp)
        )
        -- a window ends there; without this, every day since 1970 is numbered for every account
        and (
            cast($since as timestamptz) is not null
            or date_diff('day', p.period, least(e.newest_period, cast(cast($until as timestamptz) as date)))
            <= ($window + 1) * 31
        )
),

shown as (
    select
        p.account,
        p.period,
        case
            when p.period < p.first_period then 'created_at'
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

-- every period that is shown or that something happened in
levels as (
    select
        coalesce(s.account, m.account) as account,
        coalesce(s.region, m.region) as region,
        coalesce(s.period, m.period) as period,
        s.basis,
        s.is_complete,
        coalesce(m.created, 0) as created,
        coalesce(m.deleted, 0) as deleted,
        coalesce(m.sized, 0) as sized,
        coalesce(m.gib, 0) as gib
    from (
        select s.account, o.region, s.period, s.basis, s.is_complete
        from shown as s
        inner join scopes as o
            on o.account is not distinct from s.account
    ) as s
    full outer join moves as m
        on m.account is not distinct from s.account
        and m.region is not distinct from s.region
        and m.period = s.period
),

sums as (
    select
        *,
        sum(created - deleted) over running as closing,
        sum(sized) over running as sized_closing,
        sum(gib) over running as gib_sum
    from levels
    window running as (partition by account, region order by period rows unbounded preceding)
),

sized_sums as (
    select
        *,
        case
            when closing = 0 then cast(0 as decimal(38, 9))
            when sized_closing > 0 then cast(gib_sum as decimal(38, 9))
        end as gib_closing
    from sums
),

steps as (
    select
        *,
        lag(gib_closing) over before as gib_before,
        row_number() over before as step
    from sized_sums
    window before as (partition by account, region order by period)
)

select
    account,
    period,
    region,
    cast(closing - created + deleted as bigint) as opening,
    cast(created as bigint) as created,
    cast(deleted as bigint) as deleted,
    cast(closing as bigint) as closing,
    cast(created - deleted as bigint) as net,
    case
        when basis <> 'partial'
            then 100.0 * cast(created - deleted as double) / cast(nullif(closing - created + deleted, 0) as double)
    end as growth_pct,
    cast(gib_closing as double) as gib_closing,
    cast(gib_closing - case when step = 1 then cast(0 as decimal(38, 9)) else gib_before end as double) as gib_net,
    cast(gib_closing as double) * cast($price as double) as cost_per_month,
    basis,
    is_complete
from steps
where basis is not null
order by account, period, region
