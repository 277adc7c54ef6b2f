"""Style codes: sampling, files, and how a command chooses them."""
