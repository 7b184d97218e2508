-- image_history: how long every row stood.
-- grain: one row per unbroken run of an identical image × region row
-- from: lake_stays
select
    m.account,
    f.captured_at as first_seen,
    l.captured_at as last_seen,
    g.captured_at as gone_at,
    m.* exclude (account, first_n, last_n)
from lake_stays as m
inner join lake_captures as f
    on f.account = m.account
    and f.n = m.first_n
inner join lake_captures as l
    on l.account = m.account
    and l.n = m.last_n
left join lake_captures as g
    on g.account = m.account
    and g.n = m.last_n + 1
