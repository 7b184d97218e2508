"""The tables of a lake as files, exact for any reader: in the lake itself, as a DuckDB file, as Delta tables."""
