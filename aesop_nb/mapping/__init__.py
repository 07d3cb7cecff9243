"""One task over a whole table: bounded, live, and without paying twice for a row."""
