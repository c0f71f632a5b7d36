"""What people and agents read: status, next step, briefings."""
