-- images_now: how many images every account has in the newest capture
-- grain: one row per account (region is null), and one per account and region, and the same of all accounts together
-- (account is null); (none) stands for images without a region
select
    account,
    region,
    count(*) as images
from
    (select distinct account, coalesce(region, '(none)') as region, image_id from images)
group by grouping sets ((account, region), (region))
union all
select
    account,
    null as region,
    count(*) as images
from
    (select distinct account, image_id from images)
group by grouping sets ((account), ())
order by all
