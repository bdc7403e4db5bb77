"""Workarounds for third-party libraries, one library a module.

A module does nothing if its library needs no workaround. ``load()`` imports the library with the
workaround applied.
"""
