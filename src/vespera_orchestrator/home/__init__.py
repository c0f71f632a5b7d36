"""The folder that holds everything: where it is, its settings, its files."""
