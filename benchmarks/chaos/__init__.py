"""`make chaos`: runs that are struck down at random moments end with the files of one that was left alone."""
