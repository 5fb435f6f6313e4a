"""Commands of `python -m chain`."""
