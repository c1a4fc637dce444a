"""Find the near-duplicate photos in a collection, and get rid of them without ever losing a picture."""

__version__ = "0.1.0"
