"""`python -m inbox` is the command `inbox`."""

from inbox.cli import main

if __name__ == "__main__":
    main()
