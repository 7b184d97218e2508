-- images_now: how many images every account has in the newest capture
-- grain: one row per account (region is null), and one per account and region; (none) stands for images without one
select
    account,
    region,
    count(distinct image_id) as images
from
    (select account, coalesce(region, '(none)') as region, image_id from images)
group by grouping sets ((account), (account, region))
order by all
