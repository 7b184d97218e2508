"""The lake: how captures become files, and which file speaks for which capture."""
