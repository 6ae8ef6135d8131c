"""Networks that leave: plain layers in a file of a common format, checked by evaluating the written file itself."""
