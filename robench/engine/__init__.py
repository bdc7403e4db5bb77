"""How a cell is computed: the sweep over ε, the search, the view of the model, the counters."""
