-- levels: what every account has in its newest capture, by type and region.
-- grain: one row per account × type × region that was ever seen, 0 where none are left; region null for the total
-- from: region_days, of which the newest day shows the newest capture
with newest as (
    select
        account,
        max(day) as day
    from region_days
    group by account
)

select
    d.account,
    d.type,
    d.region,
    d.images,
    d.size_gib
from region_days as d
inner join newest as n
    on n.account = d.account
    and n.day = d.day
order by d.account, d.type, d.region nulls first
