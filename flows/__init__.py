"""The scheduled life of genesis-etl on Prefect; the only place that imports it."""
