"""Is everything well? A row per check, and who is told."""
