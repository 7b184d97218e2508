-- lake_periods: the days, weeks (from Monday) and months of the calendar.
-- grain: one row per length × period; a period is named by its first day
-- from: lake_calendar; first_day and last_day are those of the period that the calendar has
select
    'day' as length,
    day as period,
    day as first_day,
    day as last_day
from lake_calendar
union all
select
    'week' as length,
    cast(date_trunc('week', cast(day as timestamp)) as date) as period,
    min(day) as first_day,
    max(day) as last_day
from lake_calendar
group by cast(date_trunc('week', cast(day as timestamp)) as date)
union all
select
    'month' as length,
    cast(date_trunc('month', cast(day as timestamp)) as date) as period,
    min(day) as first_day,
    max(day) as last_day
from lake_calendar
group by cast(date_trunc('month', cast(day as timestamp)) as date)
