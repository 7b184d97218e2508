-- family_coverage: how many images of a type and family every account has in the newest capture
-- grain: one row per account, type and family (region is null), and one per region of these; images without a family
-- are left out, (none) stands for images without a region
select
    account,
    type,
    family,
    region,
    count(distinct image_id) as images
from
    (select account, type, family, coalesce(region, '(none)') as region, image_id from images where family is not null)
group by grouping sets ((account, type, family), (account, type, family, region))
order by all
