"""The bytes of artifacts, by digest: in a folder, or in an object store."""
