"""The data sets of the papers: where they come from, and how their files become those that a run reads."""
