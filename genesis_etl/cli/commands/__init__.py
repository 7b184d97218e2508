"""The commands, one a file: each parses, calls one function and prints.

A file holds `command`, and the command is called what its file is. What a command needs is imported within it, so
that help comes at once and no command waits for another's libraries.
"""
