"""A local web page to review groups, decide and apply. Needs the extra `review`."""
