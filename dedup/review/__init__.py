"""A local web page on which a person looks at groups, decides and acts. Needs the extra `review`."""
