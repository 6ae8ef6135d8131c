"""Data sets, their preprocessing, and the batches and augmentation that training draws from them."""
