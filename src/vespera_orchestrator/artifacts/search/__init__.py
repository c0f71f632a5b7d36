"""The search index over artifacts. The only door to LanceDB."""
