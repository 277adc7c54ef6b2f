"""Checkpoints of other MUNIT programs and their conversion."""
