"""The same scan on many machines: every part of the work is what one machine does, on a part of the photos."""
