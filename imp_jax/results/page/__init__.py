"""report.html: all that a workdir's studies found, in one file to look at."""
