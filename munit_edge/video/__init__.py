"""Video in, translated video out: files, cameras, network streams and raw frames through pipes.

The path of a frame: a source (`file_source`, `live_source`, `raw_source`) decodes it, `job`
translates it, and a sink (`sinks`) encodes it into segments that each play on their own
(`segments`, `parts`) and are muxed with the audio at the end (`mux`).
"""
