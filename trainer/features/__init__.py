"""Networks with public weights that measure images: VGG, Inception, LPIPS."""
