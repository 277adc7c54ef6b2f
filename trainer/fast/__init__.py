"""The networks rearranged to compute the same in less time."""
