-- images_then: how many images every account had 30 days before its newest capture
-- grain: one row per account (region is null), and one per account and region; (none) stands for images without one
-- an account without a capture then has no row
with moments as (
    select
        account,
        max(captured_at) - interval 30 day as moment
    from captures
    group by account
),

    there as (
    select
        h.account,
        coalesce(h.region, '(none)') as region,
        h.image_id
    from image_history as h
    inner join moments as m
        on m.account = h.account
    where h.first_seen <= m.moment
        and (h.gone_at is null or h.gone_at > m.moment)
)

select
    account,
    region,
    count(distinct image_id) as images
from there
group by grouping sets ((account), (account, region))
order by account, region
