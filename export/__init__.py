"""Checkpoint to graphs: what turns trained networks into a verified model directory."""

if __name__ != "munit_edge.export":
    # The folder lies at the top of the checkout; under its bare name Python would load a second copy.
    raise ImportError(f"import munit_edge.export, not {__name__}")
