"""What a terminal shows: a progress bar, result lines, curves as bars, cards and comparisons."""
