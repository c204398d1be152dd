"""The data registry: the only room that runs Git and DVC.

publish    an accepted lot becomes the next version of a dataset, all or nothing
verify     a version is fetched from the remote and compared with its release record
checkout   the same, kept: what training starts from
context    versions fetched for as long as a lot that is judged with them needs them
"""

from tasks.registry.context import context_room, fetch_context
from tasks.registry.publish import STEPS, Release, publish
from tasks.registry.repository import Registry, open_existing, open_or_create
from tasks.registry.verify import Version, checkout, verify

__all__ = [
    "STEPS",
    "Registry",
    "Release",
    "Version",
    "checkout",
    "context_room",
    "fetch_context",
    "open_existing",
    "open_or_create",
    "publish",
    "verify",
]
