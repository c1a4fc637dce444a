"""python -m dedup"""

from dedup.cli.main import main

if __name__ == "__main__":
    main(prog_name="dedup")
