-- image_regions: everything that was ever observed, expanded.
-- grain: one row per capture × image × region
-- from: image_history and captures, as they are published; captures that share their instant have rows of their own
select
    h.account,
    c.capture_id,
    c.captured_at,
    h.* exclude (account, first_seen, last_seen, gone_at)
from image_history as h
inner join captures as c
    on c.account = h.account
    and c.captured_at between h.first_seen and h.last_seen
where not exists (
    select 1
    from captures as o
    where o.account = c.account
        and o.captured_at = c.captured_at
        and o.capture_id <> c.capture_id
)
union all by name
select * from image_regions_shared
