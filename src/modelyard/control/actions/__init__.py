"""One verb a file. The command line and, later, API and console call these and nothing else."""
