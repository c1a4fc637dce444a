"""The commands, several of a kind in a module; cli.py makes one program of them.

What takes long to load is imported inside the command that needs it.
"""
