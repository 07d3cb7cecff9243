"""What outlives the kernel: runs with their events, and permanent memory, in one SQLite file.

This package is the only door to `sqlite3`, which is loaded when a store is opened and not before.
"""

from __future__ import annotations

from .defaults import close_stores, default_store
from .run_rows import reuse_key
from .stores import Store
from .summaries import RunSummary

__all__ = ["RunSummary", "Store", "close_stores", "default_store", "reuse_key"]
