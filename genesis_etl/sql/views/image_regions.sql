-- image_regions: everything that was ever observed, expanded.
-- grain: one row per capture × image × region
-- from: lake_rows, each run of a file repeated for the captures that belong to the file
select
    r.account,
    c.capture_id,
    c.captured_at,
    r.* exclude (account, first_seen, last_seen, path)
from lake_rows as r
inner join lake_captures as c
    on c.path = r.path
    and c.captured_at between r.first_seen and r.last_seen
