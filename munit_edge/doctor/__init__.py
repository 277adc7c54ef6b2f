"""What this machine can run, and a self-test that shows it."""
