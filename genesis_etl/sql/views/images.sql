-- images: what every account has now, in its newest capture.
-- grain: one row per image × region
-- from: lake_newest_rows (the files of the newest captures alone)
select
    r.account,
    c.capture_id,
    c.captured_at,
    r.* exclude (account, first_seen, last_seen, path)
from lake_newest_rows as r
inner join lake_captures as c
    on c.path = r.path
    and c.is_newest
    and c.captured_at between r.first_seen and r.last_seen
