"""A run being trained: begun, continued, recorded, stopped. Modules are imported by name."""
