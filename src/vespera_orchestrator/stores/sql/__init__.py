"""What the SQL stores share: statements, rows, rules of writing."""
