-- lake_source_names: what every source instance was last called, for those that are gone.
-- grain: one row per account × source instance that a capture knew the name of
-- from: lake_runs; all rows of one capture give an instance the same name
with named as (
    select
        account,
        source_instance_id,
        source_instance_name,
        max(last_n) as last_n
    from lake_runs
    where source_instance_name is not null
    group by account, source_instance_id, source_instance_name
)

select
    account,
    source_instance_id,
    arg_max(source_instance_name, last_n) as source_instance_name
from named
group by account, source_instance_id
