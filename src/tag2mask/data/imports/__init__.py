"""``tag2mask data import``: own images and tags become a table and a data configuration."""
