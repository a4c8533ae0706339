"""Pictures and masks to train on, and what a head sees of them."""
