"""Checkpoint to graphs: what turns trained networks into a verified model directory."""

if __name__ != "munit_edge.export":
    # The folder lies at the top of the checkout: under its bare name it would load twice.
    raise ImportError(f"import munit_edge.export, not {__name__}")
