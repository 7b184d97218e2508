-- title: What changed from one capture to the next
-- grain: one row per account × capture × image × change; per region too where regions changed
-- window: 24 hours
-- parameter account: this account alone
-- parameter region: images that are or were in this region; of changes of regions, those of this one
-- parameter type: this type alone
-- parameter since: changes seen from here on; else in the last $window up to the account's newest capture
-- parameter until: changes seen before this end
-- column account: short name of the account
-- column captured_at: the capture that saw the change
-- column previous_captured_at: the capture before it; the change fell between the two
-- column change: appeared, disappeared, renamed, region_added, region_removed, resized, status_changed, source_gone or updated
-- column image_id: id of the image
-- column name: display name; of an image that disappeared, its last
-- column type: type of the image; of one that disappeared, its last
-- column region: the region that was added or removed; null for changes of the whole image
-- column before: what stood before: regions of disappeared, name (of source_gone that of the instance), GiB or status; null if nothing did
-- column after: what stands now: regions of appeared, name, GiB or status; of updated, the fields that differ, sorted
-- source_gone: the instance of a snapshot was there in the capture before and is no more; where either could not tell, there is none
-- An account's first capture has nothing before it and makes no changes
with newest as (
    select
        account,
        captured_at as newest_at
    from lake_captures
    where is_newest
        and (cast($account as varchar) is null or account = $account)
),

numbered as (
    select
        account,
        n,
        captured_at,
        lag(captured_at) over (partition by account order by n) as previous_captured_at
    from lake_captures
),

shown as (
    select
        c.account,
        c.n,
        c.captured_at,
        c.previous_captured_at
    from numbered as c
    inner join newest as w
        on w.account = c.account
    where c.n > 1
        and (cast($until as timestamptz) is null or c.captured_at < cast($until as timestamptz))
        and case
            when cast($since as timestamptz) is not null then c.captured_at >= cast($since as timestamptz)
            when cast($until as timestamptz) <= w.newest_at
                then c.captured_at >= cast($until as timestamptz) - $window * interval 1 hour
            else c.captured_at > w.newest_at - $window * interval 1 hour
        end
),

-- a row comes where a run begins and goes after its end; where one run goes on in the next, both cancel out
turns as (
    select r.* exclude (first_n, last_n), r.first_n as n, 1 as turn
    from lake_runs as r
    inner join shown as s
        on s.account = r.account
        and s.n = r.first_n
    union all
    select r.* exclude (first_n, last_n), r.last_n + 1 as n, -1 as turn
    from lake_runs as r
    inner join shown as s
        on s.account = r.account
        and s.n = r.last_n + 1
),

turned as (
    select * exclude (turn)
    from turns
    group by all
    having sum(turn) <> 0
),

changed as (
    select distinct account, n, image_id from turned
),

-- the rows of a changed image in both neighbouring captures
states as (
    select
        c.n,
        r.first_n < c.n as is_before,
        r.last_n >= c.n as is_after,
        r.*
    from changed as c
    inner join lake_runs as r
        on r.account = c.account
        and r.image_id = c.image_id
        and r.first_n <= c.n
        and r.last_n >= c.n - 1
),

-- but for the region, all rows of an image are the same in one capture
sides as (
    select
        account,
        n,
        image_id,
        bool_or(is_before) as is_before,
        bool_or(is_after) as is_after,
        max(name) filter (where is_before) as name_before,
        max(name) filter (where is_after) as name_after,
        max(type) filter (where is_before) as type_before,
        max(type) filter (where is_after) as type_after,
        max(size_gib) filter (where is_before) as size_before,
        max(size_gib) filter (where is_after) as size_after,
        max(status) filter (where is_before) as status_before,
        max(status) filter (where is_after) as status_after,
        bool_or(source_instance_exists) filter (where is_before)
            and not bool_or(source_instance_exists) filter (where is_after) as is_source_gone,
        max(source_instance_name) filter (where is_before) as source_before,
        max(updated_at) filter (where is_before) is distinct from max(updated_at) filter (where is_after) as is_touched,
        concat_ws(
            ', ',
            case when max(created_at) filter (where is_before)
                is distinct from max(created_at) filter (where is_after) then 'created_at' end,
            case when max(extra) filter (where is_before)
                is distinct from max(extra) filter (where is_after) then 'extra' end,
            case when max(family) filter (where is_before)
                is distinct from max(family) filter (where is_after) then 'family' end,
            case when max(os_type) filter (where is_before)
                is distinct from max(os_type) filter (where is_after) then 'os_type' end,
            case when max(slug) filter (where is_before)
                is distinct from max(slug) filter (where is_after) then 'slug' end,
            case when max(source_instance_id) filter (where is_before)
                is distinct from max(source_instance_id) filter (where is_after) then 'source_instance_id' end,
            case when max(source_snapshot_id) filter (where is_before)
                is distinct from max(source_snapshot_id) filter (where is_after) then 'source_snapshot_id' end,
            case when max(type) filter (where is_before)
                is distinct from max(type) filter (where is_after) then 'type' end,
            case when max(updated_at) filter (where is_before)
                is distinct from max(updated_at) filter (where is_after) then 'updated_at' end,
            case when max(versions) filter (where is_before)
                is distinct from max(versions) filter (where is_after) then 'versions' end
        ) as fields,
        coalesce(
            array_to_string(list_sort(list(distinct region) filter (where is_before and region is not null)), ', '), ''
        ) as regions_before,
        coalesce(
            array_to_string(list_sort(list(distinct region) filter (where is_after and region is not null)), ', '), ''
        ) as regions_after,
        bool_or(coalesce(region, '(none)') = $region) as is_in_region
    from states
    group by account, n, image_id
),

regions as (
    select
        account,
        n,
        image_id,
        region,
        bool_or(is_before) as was_there
    from states
    where region is not null
    group by account, n, image_id, region
    having bool_or(is_before) <> bool_or(is_after)
),

whole as (
    select
        account, n, image_id, 'appeared' as change, cast(null as varchar) as region,
        cast(null as varchar) as before, coalesce(nullif(regions_after, ''), '(none)') as after
    from sides
    where not is_before
    union all
    select
        account, n, image_id, 'disappeared', cast(null as varchar),
        coalesce(nullif(regions_before, ''), '(none)'), cast(null as varchar)
    from sides
    where not is_after
    union all
    select account, n, image_id, 'renamed', cast(null as varchar), name_before, name_after
    from sides
    where is_before and is_after and name_before <> name_after
    union all
    select
        account, n, image_id, 'resized', cast(null as varchar),
        rtrim(rtrim(cast(cast(size_before as decimal(38, 9)) as varchar), '0'), '.'),
        rtrim(rtrim(cast(cast(size_after as decimal(38, 9)) as varchar), '0'), '.')
    from sides
    where is_before and is_after and size_before is distinct from size_after
    union all
    select account, n, image_id, 'status_changed', cast(null as varchar), status_before, status_after
    from sides
    where is_before and is_after and status_before is distinct from status_after
    union all
    select account, n, image_id, 'source_gone', cast(null as varchar), source_before, cast(null as varchar)
    from sides
    where is_source_gone
    union all
    -- an update that only dates another change is no change of its own
    select account, n, image_id, 'updated', cast(null as varchar), cast(null as varchar), fields
    from sides
    where is_before and is_after and fields <> ''
        and not (
            fields = 'updated_at'
            and (
                name_before <> name_after
                or size_before is distinct from size_after
                or status_before is distinct from status_after
                or coalesce(is_source_gone, false)
                or regions_before <> regions_after
            )
        )
),

changes as (
    select w.account, w.n, w.image_id, w.change, w.region, w.before, w.after
    from whole as w
    inner join sides as s
        on s.account = w.account
        and s.n = w.n
        and s.image_id = w.image_id
    where cast($region as varchar) is null or s.is_in_region
    union all
    select
        r.account,
        r.n,
        r.image_id,
        case when r.was_there then 'region_removed' else 'region_added' end,
        r.region,
        case when r.was_there then r.region end,
        case when not r.was_there then r.region end
    from regions as r
    inner join sides as s
        on s.account = r.account
        and s.n = r.n
        and s.image_id = r.image_id
    where s.is_before and s.is_after
        and (cast($region as varchar) is null or r.region = $region)
)

select
    c.account,
    k.captured_at,
    k.previous_captured_at,
    c.change,
    c.image_id,
    coalesce(s.name_after, s.name_before) as name,
    coalesce(s.type_after, s.type_before) as type,
    c.region,
    c.before,
    c.after
from changes as c
inner join sides as s
    on s.account = c.account
    and s.n = c.n
    and s.image_id = c.image_id
inner join shown as k
    on k.account = c.account
    and k.n = c.n
where cast($type as varchar) is null or coalesce(s.type_after, s.type_before) = $type
order by c.account, c.n, c.change, name, c.image_id, c.region
