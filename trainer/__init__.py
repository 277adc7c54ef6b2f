"""Networks, losses, data, the training loop, and checkpoints with their conversion."""

if __name__ != "munit_edge.trainer":
    # The folder lies at the top of the checkout: under its bare name it would load twice.
    raise ImportError(f"import munit_edge.trainer, not {__name__}")
