-- captured: since when every account is captured, how often, and how many images and snapshots it has
-- grain: one row per account
-- snapshots is what the newest capture counted in /snapshots, null where it did not read it; images_then is how many
-- images the last capture at or before 30 days before the newest one had, null without such a capture
with newest as (
    select
        account,
        max(captured_at) as newest
    from captures
    group by account
)

select
    c.account,
    min(c.captured_at) as first,
    max(c.captured_at) as newest,
    count(*) as captures,
    arg_max_null(c.snapshots, (c.captured_at, c.capture_id)) as snapshots,
    arg_max(c.images, (c.captured_at, c.capture_id))
        filter (where c.captured_at <= n.newest - interval 30 day) as images_then
from captures as c
inner join newest as n
    on n.account = c.account
group by c.account
order by c.account
