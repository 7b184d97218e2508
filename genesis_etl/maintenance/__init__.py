"""What keeps a lake well: compact, forget, verify."""
