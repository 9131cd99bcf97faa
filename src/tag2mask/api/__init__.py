"""For use from Python: `tag2mask.load` and `tag2mask.run`, and figures of single papers (`paper_figures`)."""
