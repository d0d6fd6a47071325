"""Paired timings, each with a written question; never part of the tests. `make bench` runs `benchmarks.__main__`."""
