"""For hosts: what attaches agents, servers and people to an `Orchestrator`."""
