"""What a model is: configuration, manifest, normalisation and cost."""
