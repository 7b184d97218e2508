-- title: Which image is in which region
-- grain: one row per account × type × image × region, which the package turns into one row per image
-- parameter account: this account alone
-- parameter type: this type alone
-- parameter newest_of_family = false: only the newest image of each family counts
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
),

there as (
    select distinct
        r.account,
        r.type,
        r.image_id,
        r.name,
        r.family,
        r.created_at,
        r.region
    from lake_rows as r
    inner join lake_captures as c
        on c.path = r.path
        and c.captured_at between r.first_seen and r.last_seen
    inner join ends as e
        on e.account = c.account
        and e.n = c.n
    where cast($type as varchar) is null or r.type = $type
),

images_at_end as (
    select distinct account, type, image_id, family, created_at from there
),

-- an image without a family is its own
images_by_age as (
    select
        account,
        image_id,
        case
            when nullif(family, '') is null then 1
            else row_number() over (partition by account, type, family order by created_at desc, image_id desc)
        end as age
    from images_at_end
)

select
    t.account,
    t.type,
    t.image_id,
    t.name,
    t.region
from there as t
inner join images_by_age as a
    on a.account = t.account
    and a.image_id = t.image_id
where not $newest_of_family or a.age = 1
order by t.account, t.type, t.name, t.image_id, t.region
