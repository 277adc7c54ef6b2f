"""`python -m munit_edge`: the program where launchers want a module, as torchrun -m does."""

from munit_edge.cli.main import main

if __name__ == "__main__":
    main()
