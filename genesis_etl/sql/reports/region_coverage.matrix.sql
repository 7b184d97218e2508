-- title: Which image is in which region
-- grain: one row per account × type × image × region, which the package turns into one row per image
-- parameter account: this account alone
-- parameter type: this type alone
-- parameter until: as it was at this end; else at the account's newest capture
-- column account: short name of the account
-- column type: type of the image
-- column image_id: id of the image
-- column name: display name
-- column region: region id, a column of its own in the matrix
with ends as (
    select
        account,
        max(n) as n
    from lake_captures
    where (cast($account as varchar) is null or account = $account)
        and (cast($until as timestamptz) is null or captured_at < cast($until as timestamptz))
    group by account
)

select distinct
    r.account,
    r.type,
    r.image_id,
    r.name,
    r.region
from lake_rows as r
inner join lake_captures as c
    on c.path = r.path
    and c.captured_at between r.first_seen and r.last_seen
inner join ends as e
    on e.account = c.account
    and e.n = c.n
where cast($type as varchar) is null or r.type = $type
order by r.account, r.type, r.name, r.image_id, r.region
