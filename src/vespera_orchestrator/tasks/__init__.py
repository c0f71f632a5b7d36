"""The rules of tasks, pure: no file, no store, no clock."""
