"""From recipients to a Plan: whose mailbox, which alias, what leaves for elsewhere."""
