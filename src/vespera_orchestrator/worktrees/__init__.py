"""Git worktrees: one checkout for each task or agent, saved as it goes, landed without touching anybody's checkout.

The only room that knows pygit2, which is loaded when a worktree is asked for. What callers use is
`vespera_orchestrator.work.worktrees.Worktrees`.
"""
