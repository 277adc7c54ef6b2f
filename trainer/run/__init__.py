"""The files of a training run, and what its user sees.

RunFolder   paths in the folder, and what may start or continue there
RunState    networks and optimisers, saved to checkpoints and restored
RunView     what a running session writes: curves, grids, record, page, trackers
RunRecord   run.json, the history of the sessions
Snapshot    folder, configuration, record and curves of a run, as its page shows them
"""
