-- lake_stays: how long every row stood, counted in captures of the account.
-- grain: one row per unbroken run of an identical image × region row
-- from: lake_runs; runs that go on in the next capture are one, whichever files they lie in
with spans as (
    select
        * exclude (first_n, last_n),
        min(first_n) as first_n,
        max(last_n) as last_n,
        sum(last_n - first_n + 1) as captures
    from lake_runs
    group by all
),

-- images with a row that went and came back; sorting them alone is much cheaper than sorting all
broken as (
    select distinct account, image_id from spans where captures <> last_n - first_n + 1
),

pieces as (
    select r.*
    from lake_runs as r
    inner join broken as b
        on b.account = r.account
        and b.image_id = r.image_id
),

-- a row comes where a run begins and goes after its end
turns as (
    select * exclude (first_n, last_n), first_n as n, 1 as turn from pieces
    union all
    select * exclude (first_n, last_n), last_n + 1 as n, -1 as turn from pieces
),

-- where one run goes on in the next, both cancel out
turned as (
    select * exclude (turn), sum(turn) as turn
    from turns
    group by all
    having sum(turn) <> 0
),

-- lists, so that no window has to name all that makes two rows the same
moves as (
    select
        * exclude (n, turn),
        list_sort(list(n) filter (where turn > 0)) as comes,
        list_sort(list(n) filter (where turn < 0)) as goes
    from turned
    group by all
),

stays as (
    select * exclude (comes), unnest(comes) as first_n from moves
)

select s.* exclude (captures)
from spans as s
left join broken as b
    on b.account = s.account
    and b.image_id = s.image_id
where b.image_id is null
union all
select * exclude (goes), list_min(list_filter(goes, lambda n: n > first_n)) - 1 as last_n from stays
