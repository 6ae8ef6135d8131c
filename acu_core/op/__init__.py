"""The operator: a convolution whose synapses sit at learned, fractional positions."""
