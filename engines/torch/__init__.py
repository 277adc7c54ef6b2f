"""The networks of a checkpoint in torch, without an export."""
