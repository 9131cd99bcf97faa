"""What ``import tag2mask`` offers: `tag2mask.load` and `tag2mask.run`."""
