-- lake_files: the files of the lake, and whether they speak for one capture, and for a newest one.
-- grain: one row per file
-- from: lake_captures
select
    path,
    count(*) = 1 as is_single,
    bool_or(is_newest) as is_newest
from lake_captures
group by path
