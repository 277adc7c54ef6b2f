"""Quality of a model on a test set, measured with NumPy and a `Translator`.

`run.evaluate` measures, `report` has the results, and docs/evaluation.md explains good values.
Feature networks are optional.
"""
