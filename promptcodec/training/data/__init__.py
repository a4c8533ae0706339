"""Pictures and masks to train on, and inputs of heads made from them."""
