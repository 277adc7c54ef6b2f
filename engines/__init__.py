"""Runners: one class for each backend that can run the three graphs."""

if __name__ != "munit_edge.engines":
    # The folder lies at the top of the checkout: under its bare name it would load twice.
    raise ImportError(f"import munit_edge.engines, not {__name__}")
