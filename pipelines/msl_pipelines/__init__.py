"""Whole jobs on top of msl: benchmarks, and what a user schedules."""
