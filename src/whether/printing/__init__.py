"""Text that others wrote (rows, labels, answers, servers) where people read it: there it shows, and does nothing."""
