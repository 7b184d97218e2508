-- made: when the snapshots of the newest capture were made
-- grain: one row per account and month, and one per month of all accounts together (account is null)
-- gib leaves unknown sizes out, null if none is known
select
    account,
    cast(date_trunc('month', created_at) as date) as period,
    count(*) as snapshots,
    cast(sum(cast(size_gib as decimal(38, 9))) as double) as gib
from
    (select distinct account, image_id, created_at, size_gib from images where type = 'snapshot')
group by grouping sets ((account, date_trunc('month', created_at)), (date_trunc('month', created_at)))
order by all
