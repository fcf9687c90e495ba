"""`python -m haneul` is the `haneul` command."""

from haneul.cli.main import main

main()
