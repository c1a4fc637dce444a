"""The values that pass between stages. Plain data: no I/O, no torch, no SQL.

Terms, one each:
  file        a path as stat() saw it
  photo       one sequence of bytes that decodes to a picture, however many files hold it
  descriptor  what the encoder keeps of a photo: a global vector and a spatial map
  candidate   two photos whose vectors are near each other
  score       what the pairwise head says of a candidate
  verdict     a candidate whose relation is decided
  match       a verdict sure enough to be reported, and of a relation that is asked for
  group       one photo to keep (the keeper) and those that match it (the duplicates)

Symbols in shape comments, everywhere in this package:
  N photos   D dimensions of a vector   K neighbours asked for   P pairs
  B batch    C, H, W  channels, height, width   S places of a map (H * W)
"""
