"""Other systems at the task of `rounds`: each a program of its own, in its own environment.

They pin older releases of what msl uses, so they are not installed beside it: `make .venv/bench`.
What is written here imports none of msl, and theirs only when it runs.
"""
