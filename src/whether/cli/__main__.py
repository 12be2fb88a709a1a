"""`python -m whether.cli` is the command `whether`, where it is not installed."""

from whether.cli.app import main

if __name__ == "__main__":
    main()
