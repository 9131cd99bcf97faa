"""tag2mask weights: published weights of other programs as files that this one reads."""
