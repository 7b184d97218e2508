-- places: the regions that every image of the newest capture has
-- grain: one row per account, image and region
select distinct
    account,
    image_id,
    region
from images
where region is not null
order by account, image_id, region
