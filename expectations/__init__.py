"""Great Expectations suites, one per table, and the expectations of our own that they name."""
