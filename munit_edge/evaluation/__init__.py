"""How good a model is, in numbers, on a test set: needs NumPy and a `Translator`, no other network.

`run.evaluate` measures, `report` is what it gives, and docs/evaluation.md says what is good.
"""
