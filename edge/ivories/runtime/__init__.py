"""Threads, mailboxes and supervision."""
