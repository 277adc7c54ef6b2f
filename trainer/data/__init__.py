"""Images on their way to the training step."""
