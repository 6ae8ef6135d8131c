"""A run being trained: begun, continued, recorded, stopped."""
