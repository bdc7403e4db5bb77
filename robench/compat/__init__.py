"""Third-party libraries that need a hand before they can be imported or used.

Each module cures one library, does nothing where nothing is wrong, and gives the library by
``load()``, so that a caller never imports it unprepared.
"""
