-- title: How well the account was captured
-- grain: one row per account × day, days without captures too
-- window: 90 whole days
-- parameter account: this account alone
-- parameter since: from this day on; else the $window up to the end
-- parameter until: up to this end; else up to the account's newest capture
-- column account: short name of the account
-- column day: day, UTC; a day that overlaps the range is shown whole
-- column captures: captures of the day
-- column longest_gap: seconds; the longest time between neighbouring captures that touches the day, in its whole length; null if none does
-- column requests: requests sent
-- column retries: requests of these that repeated an earlier one
-- column passes: passes over the collections
-- column seconds: seconds that the captures took, from begin to proof
-- column rows: rows of image × region that were read
with timed as (
    select
        account,
        n,
        captured_at,
        cast(captured_at as date) as day,
        lag(captured_at) over (partition by account order by n) as previous_at,
        requests,
        retries,
        passes,
        date_diff('microsecond', captured_at, finished_at) as took,
        rows
    from lake_captures
    where cast($account as varchar) is null or account = $account
),

days as (
    select
        account,
        day,
        count(*) as captures,
        sum(requests) as requests,
        sum(retries) as retries,
        sum(passes) as passes,
        sum(took) as took,
        sum(rows) as rows
    from timed
    group by account, day
),

-- most gaps lie within a day, so there are few spans to join
gaps as (
    select
        account,
        cast(previous_at as date) as first_day,
        day as last_day,
        max(date_diff('microsecond', previous_at, captured_at)) as gap
    from timed
    where previous_at is not null
    group by account, cast(previous_at as date), day
),

ends as (
    select
        account,
        max(day) as newest_day
    from days
    group by account
),

numbered_days as (
    select
        e.account,
        d.day,
        row_number() over (partition by e.account order by d.day desc) as age
    from ends as e
    inner join lake_calendar as d
        on case
            when cast($until as timestamptz) is null then d.day <= e.newest_day
            else cast(d.day as timestamp) < cast(cast($until as timestamptz) as timestamp)
        end
),

shown as (
    select
        account,
        day
    from numbered_days
    where case
        when cast($since as timestamptz) is null then age <= $window
        else cast(day as timestamp) + interval 1 day > cast(cast($since as timestamptz) as timestamp)
    end
),

longest as (
    select
        s.account,
        s.day,
        max(g.gap) as gap
    from shown as s
    inner join gaps as g
        on g.account = s.account
        and s.day between g.first_day and g.last_day
    group by s.account, s.day
)

select
    s.account,
    s.day,
    cast(coalesce(d.captures, 0) as bigint) as captures,
    cast(l.gap as double) / 1000000.0 as longest_gap,
    cast(coalesce(d.requests, 0) as bigint) as requests,
    cast(coalesce(d.retries, 0) as bigint) as retries,
    cast(coalesce(d.passes, 0) as bigint) as passes,
    cast(coalesce(d.took, 0) as double) / 1000000.0 as seconds,
    cast(coalesce(d.rows, 0) as bigint) as rows
from shown as s
left join days as d
    on d.account = s.account
    and d.day = s.day
left join longest as l
    on l.account = s.account
    and l.day = s.day
order by s.account, s.day
