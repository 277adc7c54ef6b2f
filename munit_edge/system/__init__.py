"""Processes, threads, limits and facts of the machine."""
