"""The runs that were kept: all of them, one again, their costs, and moving them between stores."""
