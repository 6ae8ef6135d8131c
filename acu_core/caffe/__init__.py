"""The authors' Caffe networks, imported as runs."""
