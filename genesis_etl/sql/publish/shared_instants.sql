-- shared_instants: the rows of captures that share their instant with another one of their account.
-- grain: one row per capture × image × region; as a rule there is none
-- from: image_regions, captures
select r.*
from image_regions as r
where exists (
    select 1
    from captures as c
    where c.account = r.account
        and c.captured_at = r.captured_at
        and c.capture_id <> r.capture_id
)
