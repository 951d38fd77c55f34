"""Pure decisions: what to lease, what to let go, who runs what. Standard library only, and no clock."""
