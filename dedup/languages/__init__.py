"""The catalogues, one a language: NAME.po, which people edit, and NAME.mo, which scripts/languages.py makes of it."""
