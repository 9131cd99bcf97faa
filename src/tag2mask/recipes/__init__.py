"""One package per paper that needs code of its own; PSA is made of the shared parts alone."""
