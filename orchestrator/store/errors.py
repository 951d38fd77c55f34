"""What can go wrong with a store, grouped by what the caller does next.

StoreError
├── StoreBusy      another process held the database for longer than the busy timeout: try again
├── StoreFull      the disk is full: make room; nothing of the verb was written
├── StoreClosed    the store was closed: a bug of the caller, or a shutdown
├── SchemaTooNew   a newer version of this program wrote the database: upgrade
├── Duplicate      the id, the email or the name is taken already: choose another
└── Missing        what the row names is not there: an owner, a project, a subscription
"""


class StoreError(Exception):
    """The verb changed nothing."""


class StoreBusy(StoreError):
    pass


class StoreFull(StoreError):
    pass


class StoreClosed(StoreError):
    pass


class SchemaTooNew(StoreError):
    pass


class Duplicate(StoreError):
    pass


class Missing(StoreError):
    pass
