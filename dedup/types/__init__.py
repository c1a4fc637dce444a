"""The values that pass between stages, and their glossary. Plain data: no I/O, no torch, no SQL.

Terms, one each:
  file        a path as stat() saw it
  photo       the bytes of a picture, identified by their SHA-256; several files can hold it
  descriptor  the encoder output for a photo: a global vector and a spatial map
  candidate   two photos whose vectors are near each other
  score       probabilities of the pair head for a candidate
  verdict     a candidate whose relation is decided
  match       a verdict that is reported: probable enough, with a requested relation
  group       one photo to keep (the keeper) and those that match it (the duplicates)

Symbols in shape comments, everywhere in this package:
  N photos   D dimensions of a vector   K neighbours asked for   P pairs
  B batch    C, H, W  channels, height, width   S places of a map (H * W)
"""
