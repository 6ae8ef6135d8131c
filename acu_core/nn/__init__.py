"""The layer, its conversion from and to ordinary convolutions, how it is optimised, and the networks of the paper."""
