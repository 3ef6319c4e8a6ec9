"""Programs that ask a vendor's library in a process of its own, since drivers crash and hang.

Each prints one JSON object a line, so that what was said before a crash is kept. They import nothing of concierge.
"""
