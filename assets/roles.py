"""Who may speak in a conversation. A role is compared with this list and never rendered as it was given."""

ROLES = ("system", "user", "assistant")
