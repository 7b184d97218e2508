-- history: what an image was, where and when
-- grain: one row per unbroken run of an identical image × region row; the page puts the image in the place of IMAGE
select
    account,
    image_id,
    region,
    first_seen,
    last_seen,
    gone_at,
    name,
    type,
    size_gib,
    status
from image_history
where image_id in ('IMAGE')
order by account, image_id, first_seen, region, last_seen
