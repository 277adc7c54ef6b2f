"""Image files to image files: options, outputs, the run, its log, tiles."""
