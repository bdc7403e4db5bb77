"""robench."""
