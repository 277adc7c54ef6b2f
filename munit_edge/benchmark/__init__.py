"""Latency and memory of models, each measurement in a process of its own."""
