-- blind_captures: those that could not read /snapshots, of the captures that `usage` counts in the two newest months.
-- grain: one row per account that has such
-- from: lake_captures (the warehouse); the months are that of the newest capture and the one before, and what holds at
-- their beginning is the last capture up to then
-- newest_at is when the newest of them was made; is_newest whether it is the account's newest capture
with months as (
    select
        account,
        date_trunc('month', captured_at) - interval 1 month as begin_at
    from lake_captures
    where is_newest
),

beginnings as (
    select
        m.account,
        max(c.n) as n
    from months as m
    inner join lake_captures as c
        on c.account = m.account
        and c.captured_at <= m.begin_at
    group by m.account
)

select
    c.account,
    count(*) as captures,
    max(c.captured_at) as newest_at,
    bool_or(c.is_newest) as is_newest
from lake_captures as c
left join beginnings as b
    on b.account = c.account
where c.snapshots is null
    and c.n >= coalesce(b.n, 1)
group by c.account
order by c.account
