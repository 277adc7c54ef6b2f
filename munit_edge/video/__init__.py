"""Video in, translated video out: files, cameras, network streams and raw frames through pipes.

The way of a frame: a source (`file_source`, `live_source`, `raw`) decodes it, `job` translates it,
and a sink (`sinks`) encodes it into segments that play by themselves (`segments`, `parts`) and are
joined with the sound in the end (`join`).
"""
