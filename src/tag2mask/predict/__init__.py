"""tag2mask predict: segment new images with a trained model; label maps, overlays, areas, outlines."""
