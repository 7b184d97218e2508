-- title: Which image is in which region
-- grain: one row per account × type × image × region, which the package turns into one row per image
-- parameter account: this account alone
-- parameter type: this type alone
-- column account: short name of the account
-- column type: type of the image
-- column image_id: id of the image
-- column name: display name
-- column region: region id, a column of its own in the matrix
select distinct
    account,
    type,
    image_id,
    name,
    region
from images
where (cast($account as varchar) is null or account = $account)
    and (cast($type as varchar) is null or type = $type)
order by account, type, name, image_id, region
