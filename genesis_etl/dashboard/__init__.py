"""The dashboard: one HTML page with figures and charts, which fetches nothing."""
