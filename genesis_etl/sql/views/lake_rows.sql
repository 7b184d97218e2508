-- lake_rows: the rows of every file as they lie.
-- grain: one row per run of a file
-- from: lake_single_rows, lake_many_rows (the warehouse: files that speak for one capture, for several)
select * from lake_single_rows
union all
select * from lake_many_rows
